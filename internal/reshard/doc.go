// Package reshard moves an application to more partitions: it copies the internal topics of the generation in force into those of a new one,
// proves that nothing is missing, doubled or in the wrong place, and switches with one record (ADR 0019).
//
// Invariant: until the switch the generation in force is untouched and complete; after it the new one is. Whenever a run dies, the next one
// goes on where its last committed transaction ended.
//
// It refuses to work beside a member of one of the groups, to go to fewer partitions, and to switch on anything but equal counts and sums.
package reshard
