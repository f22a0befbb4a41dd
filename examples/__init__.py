"""Applications that show prodkit at work. They are not part of the distribution."""
