"""The machine below the program: files, folders, mounts, processors, time.

What it promises: a move, a write and a flush are whole or an error in words. No function here knows what a receipt is.

- `disk`: durable writes and moves, free space
- `display`: names and texts as people see them: cut, numbered, printable
- `mounts`, `folder_identity`: what a path is mounted from; whether it still leads to the same folder
- `permissions`: what to change when the system refuses; whose files are that root makes
- `open_files`: who has a file open
- `clock`, `time_limit`: time that does not jump; calls that may never return
- `state_dir`, `runtime_dir`: the state folder with its lock; the folder for what a running daemon tells
- `cpu`, `wakeup`: one processor for all threads; the bell by which one stage wakes another

Any thread may call it. A crash leaves at most a file with the partial suffix, which is removed when it is seen again.
"""
