"""One worker: an engine on a device and the pipeline that feeds it."""
