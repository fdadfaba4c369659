// Package pseudonym maps listener ids to the pseudonyms used inside earworm, and back.
//
// The mapping is deterministic authenticated encryption (AES-SIV, RFC 5297): the same id always gives the same
// pseudonym, so that records of one listener meet in one partition, and only the holder of the key can reverse it.
// Without a key the mapping is the identity. The package keeps no table of ids and writes none to logs.
package pseudonym
