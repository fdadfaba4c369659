// Package backtest replays a listening history in event time through models, freezes them every Monday, and measures what each
// would have recommended against what the listeners then found by themselves.
//
// The protocol is that of the project's independent scorer: at a Monday 00:00 UTC everything before it is known; whoever has consumed
// five different items and finds a new one in the seven days after is measured; the whole catalogue is ranked without what the
// listener has consumed; recall@30 is hits by min(30, found), averaged over listeners, then over weeks.
//
// Invariant it protects: a model sees an event only after every freeze that lies before it, so nothing measured was known; and the same
// data, seed and model give the same figures, whatever the number of goroutines.
//
// It refuses to contain a second version of the production model: that one comes in from outside, as a Model that runs the tasks
// of production in process. What is here are the baselines.
package backtest
