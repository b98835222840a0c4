"""`python -m gantoolkit`, and what torchrun starts: `torchrun --nproc-per-node 2 -m gantoolkit train …`."""

from gantoolkit.cli import main

if __name__ == "__main__":
    main()
