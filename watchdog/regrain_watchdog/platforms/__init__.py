"""Where functions run: what every platform offers, the drivers, and what functions are declared as to each of them."""
