package devbroker

import "log/slog"

// repairFolder mends what a kill may have left half done.
func repairFolder(dir string, log *slog.Logger) error { return nil }
