package service

import (
	"errors"

	"earworm/internal/obs"
	"earworm/internal/run"
)

// servers opens both addresses, so that a port in use is known before anything else starts. Either may be nil.
func (s *Service) servers() (public, admin *obs.Server, err error) {
	h := s.cfg.HTTP
	if h.Listen != "" {
		public, err = obs.NewServer(obs.ServerConfig{Listen: h.Listen},
			obs.PublicHandler(s.deps.Build, s.health, s.deps.Registry), s.deps.Logger)
		if err != nil {
			return nil, nil, run.WithCode(run.CodeIO, err)
		}
		address := public.Addr()
		s.httpAddress.Store(&address)
	}
	if h.AdminListen != "" {
		admin, err = obs.NewServer(obs.ServerConfig{Listen: h.AdminListen, Token: h.AdminToken.Reveal()},
			obs.AdminHandler(h.Pprof, s.adminHandlers()), s.deps.Logger)
		if err != nil {
			return nil, nil, run.WithCode(run.CodeIO, errors.Join(err, closeServers(public)))
		}
	}
	return public, admin, nil
}

func closeServers(servers ...*obs.Server) error {
	var errs []error
	for _, server := range servers {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}
