"""The shell: the only code that sends, acknowledges or reads the environment."""
