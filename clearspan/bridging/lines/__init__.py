"""The ways out of a bridge: to nodes, the relay and other bridges, with the legs and transfers that go there."""
