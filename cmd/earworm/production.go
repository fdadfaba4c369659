package main

import "earworm/internal/backtest"

// production makes the production model for a backtest; nil while there is none that runs in process.
func production() backtest.Production { return nil }
