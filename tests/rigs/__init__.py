"""What measures the product and is no part of it: attacks, endurance, simulations, benches, fault servers."""
