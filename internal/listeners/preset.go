package listeners

import (
	"fmt"
	"slices"
	"strings"
)

// Preset is a world that backtests are run on.
type Preset struct {
	Name, About string
	change      func(c *Config)
}

// Presets are all there are; each is base but for what About says.
func Presets() []Preset {
	return []Preset{
		{"base", "the world of the demo: 8 % of the listeners swap an interest a week, a fifth of the songs comes out meanwhile, 60 % of the starts are repeats", func(*Config) {}},
		{"static", "nothing changes: no drift, no releases, no newcomers, no waves, no bots", func(c *Config) {
			c.DriftPerWeek, c.ReleaseShare, c.JoinShare, c.Virals, c.BotCampaigns = 0, 0, 0, 0, 0
		}},
		{"drift", "20 % swap an interest a week, and only 40 % of the starts are repeats", func(c *Config) { c.DriftPerWeek, c.NewShare = .2, .6 }},
		{"releases", "half of the songs come out meanwhile", func(c *Config) { c.ReleaseShare = .5 }},
		{"regions", "eight regions with seven languages, and twice as many waves, most of them of one region", func(c *Config) { c.Regions, c.Virals = 8, 24 }},
		{"eclectic", "everybody has six to eight interests instead of two to four", func(c *Config) { c.InterestsMin, c.InterestsMax = 6, 8 }},
		{"bots", "fifteen campaigns of 150 bots each", func(c *Config) { c.BotCampaigns, c.BotAccounts = 15, 150 }},
	}
}

// World returns the config of a preset.
func (p Preset) World() Config {
	c := Demo()
	p.change(&c)
	return c
}

// FindPreset returns the preset of a name.
func FindPreset(name string) (Preset, error) {
	all := Presets()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		return Preset{}, fmt.Errorf("there is no world %q; there are %s", name, strings.Join(names, ", "))
	}
	return all[i], nil
}
