package service

import (
	"time"

	"earworm/consumers/feed"
	"earworm/consumers/stream"
	"earworm/internal/config"
	"earworm/internal/reshard"
	"earworm/schemas"
)

// brokerSweep is how often brokers look for transactions that are older than their timeout, with their usual settings.
const brokerSweep = 10 * time.Second

// ReshardConfig says where the application is that is to be moved. Clock, progress and --waiting-only are the caller's.
func ReshardConfig(cfg config.Config) (reshard.Config, error) {
	options, err := KafkaOptions(cfg)
	if err != nil {
		return reshard.Config{}, err
	}
	group := func(role string) string { return cfg.App + "-" + role }
	return reshard.Config{
		App: cfg.App, Topics: Topics(cfg), ClientOptions: options,
		Specs: func(topics schemas.Topics, partitions int32) []stream.TopicSpec {
			cfg.Topics.Partitions = int(partitions)
			return specs(cfg, topics)
		},
		Groups:        []string{group(feed.RoleIngest), group(feed.RoleListener), group(feed.RoleSong)},
		ListenerGroup: group(feed.RoleListener), SongGroup: group(feed.RoleSong),
		TransactionTimeout: cfg.Kafka.TransactionTimeout,
		MembersWait:        cfg.Kafka.SessionTimeout + 5*time.Second,
		OpenWait:           cfg.Kafka.TransactionTimeout + 2*brokerSweep,
	}, nil
}
