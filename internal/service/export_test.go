package service

// ListenerConfig and SongConfig are the settings of the tasks under those of a process.
var (
	ListenerConfig = listenerConfig
	SongConfig     = songConfig
)
