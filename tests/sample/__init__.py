"""The tests of the sample application: how a project tests itself with containertest. Copy what you need."""
