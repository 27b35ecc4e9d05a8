"""What is quoted and planned: corridors, desks, quotes, routes, terms of swaps with their envelopes, premiums."""
