"""``python -m poreforge``."""

from poreforge.cli import main

if __name__ == "__main__":
    main()
