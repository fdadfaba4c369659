package obs

import (
	"fmt"
	"io"
	"log/slog"
)

// LogConfig sets the log; zero means default.
type LogConfig struct {
	Level  string // debug, info, warn or error; default info
	Format string // text or json; default text
}

// NewLogger returns a logger that writes to w.
func NewLogger(cfg LogConfig, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if cfg.Level != "" {
		if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
			return nil, fmt.Errorf("reading log.level: %w", err)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	switch cfg.Format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("reading log.format: %q is not one of text, json", cfg.Format)
}
