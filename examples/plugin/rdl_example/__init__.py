"""Plug-ins for rdl, one of each kind, named as `rdl_example.FILE:FUNCTION`."""
