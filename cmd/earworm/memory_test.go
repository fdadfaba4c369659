package main

import (
	"errors"
	"math"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	const info = "MemTotal:       1000 kB\nMemFree:        10 kB\n"
	for name, c := range map[string]struct {
		cgroup, info string
		want         int64
	}{
		"machine":            {info: info, want: 768_000},
		"container":          {cgroup: "100000\n", info: info, want: 75_000},
		"container no limit": {cgroup: "max\n", info: info, want: 768_000},
		"container too much": {cgroup: "9000000000000000000\n", info: info, want: 768_000},
		"unknown":            {want: math.MaxInt64},
		"nonsense":           {cgroup: "-1", info: "MemTotal: much kB", want: math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			got := memoryLimit(func(path string) ([]byte, error) {
				text := map[string]string{cgroupLimit: c.cgroup, memInfo: c.info}[path]
				if text == "" {
					return nil, errors.New("no such file")
				}
				return []byte(text), nil
			})
			if got != c.want {
				t.Errorf("limit %d, want %d", got, c.want)
			}
		})
	}
}
