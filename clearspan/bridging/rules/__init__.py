"""What a swap is asked before it runs: breakers, screening, flows, cases for people, outcomes on the record."""
