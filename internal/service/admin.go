package service

import (
	"encoding/json"
	"errors"
	"net/http"

	"earworm/consumers/listener"
	"earworm/consumers/song"
	"earworm/consumers/stream"
	"earworm/model/factor"
)

// adminHandlers let an operator look into the committed state of this process. They hold ids, so they are on the admin address only.
func (s *Service) adminHandlers() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /inspect/listener/{id}": http.HandlerFunc(s.inspectListener),
		"GET /inspect/song/{id}":     http.HandlerFunc(s.inspectSong),
	}
}

func (s *Service) inspectListener(w http.ResponseWriter, r *http.Request) {
	runtime := s.listener.Load()
	if runtime == nil {
		http.Error(w, "the listener role does not run here", http.StatusNotFound)
		return
	}
	pseudonym, err := s.mapper.Append(nil, []byte(r.PathValue("id")))
	if err != nil {
		http.Error(w, "not an id", http.StatusBadRequest)
		return
	}
	var found *listener.Inspection
	err = runtime.View(stream.PartitionOf(pseudonym, Partitions(s.cfg)), func(t stream.Task) error {
		task, ok := t.(*listener.Task)
		if !ok {
			return stream.ErrNotOwned
		}
		found, err = task.Inspect(pseudonym)
		return err
	})
	answer(w, found, found != nil, err)
}

func (s *Service) inspectSong(w http.ResponseWriter, r *http.Request) {
	runtime := s.song.Load()
	if runtime == nil {
		http.Error(w, "the song role does not run here", http.StatusNotFound)
		return
	}
	id := r.PathValue("id")
	var found *song.Inspection
	err := runtime.View(stream.PartitionOf(append([]byte{byte(factor.KindSong)}, id...), Partitions(s.cfg)),
		func(t stream.Task) error {
			if task, ok := t.(*song.Task); ok {
				found = task.Inspect(id)
			}
			return nil
		})
	answer(w, found, found != nil, err)
}

// answer writes JSON, or why there is none.
func answer(w http.ResponseWriter, v any, found bool, err error) {
	switch {
	case errors.Is(err, stream.ErrNotOwned):
		http.Error(w, "another instance owns this partition, or it is being restored", http.StatusMisdirectedRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case !found:
		http.Error(w, "nothing is known", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the reader went away: there is nobody to tell
	}
}
