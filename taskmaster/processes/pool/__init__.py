"""The supervisor and its workers: born, watched, ended, replaced; a generation for each configuration."""
