"""``python -m streams`` is the program ``sensorium``."""

from streams.cli import main

if __name__ == "__main__":
    main()
