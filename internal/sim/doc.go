// Package sim holds the tests of the whole system in virtual time: brokers, instances, stores and listeners live in one
// testing/synctest bubble, where weeks pass in seconds.
//
// Invariant it protects: every listener known before a week's delivery gets exactly one playlist of that week, at their own Monday
// morning, whatever dies or moves meanwhile.
//
// It refuses to hold code that anything else uses, and to run without the build tag synctests: without it the mutexes of the Kafka
// client can stand in the way of the bubble's clock. A seed fixes the events and the fault plan; how goroutines interleave it cannot.
package sim
