"""A replica's use of a shared GPU: leases from the device's arbiter, and what holds it to them."""
