"""Scripts for those who change taskmaster: `make lint` and `make test-matrix` run them."""
