package main

import (
	"earworm/internal/backtest"
	"earworm/internal/replay"
)

// production makes the production model for a backtest.
func production() *backtest.Production { return replay.Production() }
