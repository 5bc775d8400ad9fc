"""The service on a private unix socket: its server, and its clients, blocking and asynchronous."""
