"""Who carries out a request: a process of this machine, a container of this machine, or AWS."""
