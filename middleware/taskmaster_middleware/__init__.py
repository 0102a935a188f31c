"""The middlewares that ship with taskmaster: one file and one entry point each."""
