"""`python -m receipt_watcher` is the same as the command `receipt-watcher`."""

from receipt_watcher.cli.main import main

if __name__ == "__main__":
    main()
