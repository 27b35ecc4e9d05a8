"""What a bridge is told: its settings, its keys, what a provider offers, where the bridges of others listen."""
