"""The middlewares that come with taskmaster: one small file each, named in the group `taskmaster.middleware`."""
