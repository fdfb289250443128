"""Changes the pure modules in one place at a time, and asks whether the modules' own tests notice."""
