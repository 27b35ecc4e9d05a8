"""The slow, obviously right model of a shard: plain Python written from docs/spec alone, the oracle of the machine.

It shares nothing with the project but the numbers of the result codes, so a mistake would have to be made twice,
independently, to go unseen. Clarity comes before speed: roots are computed from scratch, dictionaries hold the state.
"""
