"""One file per measurement. A probe measures one model; comparing with the base is done once, for all."""
