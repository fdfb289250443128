"""The machine below the program: files, folders, mounts, processors, time.

What it promises: a move, a write and a flush are whole or an error in words. No function here knows what a receipt is.

- `disk`: durable writes and moves, free space
- `display`: names and texts as people see them: cut, numbered, printable
- `mounts`, `folder_identity`: the mount of a path; whether the path still leads to the same folder
- `permissions`: the change that helps when the system refuses; the owner of files that root makes
- `open_files`: whether a program has a file open for writing
- `clock`, `time_limit`: time that does not jump; calls that may never return
- `state_dir`, `runtime_dir`: the state folder with its lock; the folder for files of a running daemon
- `cpu`, `wakeup`: one processor for all threads; the bell by which one stage wakes another

Any thread may call it. A crash leaves at most a file with the partial suffix, which is removed when it is seen again.
"""
