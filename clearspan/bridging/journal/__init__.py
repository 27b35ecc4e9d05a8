"""What a bridge remembers: entries on the disk, swaps that run, what was begun before, alarms, and their views."""
