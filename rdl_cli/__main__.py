"""Run the command line as `python -m rdl_cli`, which torchrun and srun can start."""

from rdl_cli.cli.main import main

if __name__ == "__main__":
    main()
