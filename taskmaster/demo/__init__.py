"""`taskmaster demo`: real jobs render a poster of the Mandelbrot set while faults are injected."""
