package obs

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ServerConfig sets one HTTP listener; zero means default.
type ServerConfig struct {
	Listen            string        // host:port; must be set
	Token             string        // bearer token that every request must carry; empty: none
	ReadHeaderTimeout time.Duration // default 5 s
	ReadTimeout       time.Duration // default 10 s
	WriteTimeout      time.Duration // default 30 s; profiles and traces need more
	IdleTimeout       time.Duration // default 60 s
	StopTimeout       time.Duration // for requests in flight; default 2 s
	MaxHeaderBytes    int           // default 16 KiB
	MaxConnections    int           // further ones wait to be accepted; default 256
}

func (c ServerConfig) withDefaults() ServerConfig {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.ReadHeaderTimeout, 5 * time.Second},
		{&c.ReadTimeout, 10 * time.Second},
		{&c.WriteTimeout, 30 * time.Second},
		{&c.IdleTimeout, time.Minute},
		{&c.StopTimeout, 2 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.MaxHeaderBytes <= 0 {
		c.MaxHeaderBytes = 16 << 10
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = 256
	}
	return c
}

// Server is one HTTP listener. It is a run.Component.
type Server struct {
	cfg      ServerConfig
	log      *slog.Logger
	listener net.Listener
	server   *http.Server
}

// NewServer takes the address, so that a port in use is an error of start-up, and serves nothing before Run.
func NewServer(cfg ServerConfig, handler http.Handler, log *slog.Logger) (*Server, error) {
	cfg = cfg.withDefaults()
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP: %w", err)
	}
	if cfg.Token != "" {
		handler = requireToken(cfg.Token, handler)
	}
	return &Server{
		cfg: cfg, log: log, listener: limitListener(listener, cfg.MaxConnections),
		server: &http.Server{
			Handler:           http.MaxBytesHandler(handler, maxBody),
			ReadHeaderTimeout: cfg.ReadHeaderTimeout, ReadTimeout: cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
			IdleTimeout: cfg.IdleTimeout, MaxHeaderBytes: cfg.MaxHeaderBytes,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // Broken connections are the peer's affair.
		},
	}, nil
}

// maxBody bounds what a request may send: no endpoint here reads a body.
const maxBody = 1 << 10

// Addr returns the address that is listened on, with the port that was chosen.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, then lets requests in flight finish for StopTimeout.
func (s *Server) Run(ctx context.Context) error {
	var failure error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failure = s.server.Serve(s.listener)
	}()
	select {
	case <-ended:
		return fmt.Errorf("serving HTTP: %w", failure)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StopTimeout)
	defer cancel()
	err := s.server.Shutdown(grace)
	if err != nil {
		err = s.server.Close()
	}
	<-ended // Serve has returned http.ErrServerClosed: no goroutine of ours is left.
	return err
}

// Close releases the address of a server that was never run. Idempotent.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// PublicHandler returns /metrics, /healthz, /livez, /readyz and /version: nothing that changes the process.
func PublicHandler(build Build, health *Health, gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true,
	}))
	mux.HandleFunc("GET /healthz", probe(health.Alive))
	mux.HandleFunc("GET /livez", probe(health.Alive))
	mux.HandleFunc("GET /readyz", probe(health.Ready))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(build) // The peer is gone: nobody is left to tell.
	})
	return secured(mux)
}

// AdminHandler returns /debug/pprof when profiles are wanted, and what extra adds. Serve it on loopback, with a token.
func AdminHandler(profiles bool, extra map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	for _, pattern := range sortedKeys(extra) {
		mux.Handle(pattern, extra[pattern])
	}
	return secured(mux)
}

// probe answers 200 with "ok", or 503 with one reason a line.
func probe(state func() (bool, []string)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		ok, reasons := state()
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintln(w, strings.Join(reasons, "\n"))
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}

// secured forbids browsers to guess, frame or keep what is served.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// requireToken answers 401 to requests without the token. Both sides are hashed first, so that the comparison takes
// the same time whatever the length of the guess.
func requireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if !isBearer || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="earworm"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
