"""`taskmaster demo`: a poster of the Mandelbrot set, rendered by real jobs while things go wrong on purpose."""
