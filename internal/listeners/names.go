package listeners

import "strconv"

// The words made-up names are built from. Their lengths decide how many different names there are.
var (
	genreNames = []string{
		"indie pop", "synthwave", "folk", "house", "hip hop", "ambient", "metal", "jazz", "soul", "punk", "techno", "classical",
		"reggae", "country", "shoegaze", "drum and bass", "bossa nova", "city pop", "trap", "post-rock", "blues", "gospel",
		"afrobeat", "cumbia", "k-pop", "flamenco", "dub", "grunge", "disco", "bluegrass",
	}
	adjectives = []string{
		"Velvet", "Hollow", "Golden", "Paper", "Silent", "Electric", "Crooked", "Lunar", "Amber", "Distant", "Gentle", "Feral",
		"Cobalt", "Little", "Broken", "Northern", "Wild", "Marble", "Faded", "Lucky", "Frozen", "Scarlet", "Lazy", "Neon",
		"Salt", "Wandering", "Second", "Winter", "Open", "Borrowed", "Secret", "Burning", "Quiet", "Silver", "Restless",
		"Plastic", "Early", "Emerald", "Blind", "Tender",
	}
	nouns = []string{
		"Harbour", "Foxes", "Lanterns", "Rivers", "Machines", "Orchard", "Tides", "Parade", "Mirrors", "Sparrows", "Avenue",
		"Comets", "Garden", "Engines", "Horizon", "Wolves", "Letters", "Satellites", "Meadow", "Echoes", "Castles", "Rain",
		"Highway", "Shadows", "Radio", "Postcards", "Thunder", "Cathedral", "Islands", "Static", "Lovers", "Bridges",
		"Feathers", "Windows", "Fireflies", "Canyon", "Strangers", "Carousel", "Atlas", "Ghosts", "Violets", "Kingdom",
		"Signals", "Embers", "Telephone", "Mountains", "Wires", "Sundays", "Oceans", "Circus",
	}
	firstNames = []string{
		"Ada", "Bruno", "Celia", "Dario", "Elin", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Leo", "Mira", "Nico",
		"Olga", "Pablo", "Quinn", "Rosa", "Sven", "Tala", "Ugo", "Vera", "Wanda", "Xenia", "Yuki", "Zora", "Akira", "Bea",
		"Caio", "Dina", "Emil", "Flora", "Gil", "Hana", "Ivo", "Jade", "Kenji", "Luz", "Mateo", "Nadia",
	}
	lastNames = []string{
		"Almeida", "Brandt", "Castel", "Dorn", "Ekström", "Fujita", "Galvão", "Holm", "Ibarra", "Jansen", "Kato", "Lindqvist",
		"Moreau", "Nakamura", "Okafor", "Pereira", "Quist", "Rossi", "Sato", "Teixeira", "Ueda", "Varga", "Weiss", "Yamane",
		"Zeller", "Ashdown", "Bellamy", "Crane", "Dunmore", "Everly", "Fairchild", "Greaves", "Hartigan", "Ironside",
		"Jessop", "Kingsley", "Lockhart", "Merrow", "Northcott", "Oakes",
	}
	verbs = []string{
		"Chasing", "Losing", "Finding", "Leaving", "Counting", "Holding", "Dreaming of", "Running from", "Waiting for",
		"Talking to", "Dancing with", "Burning", "Missing", "Following", "Painting", "Remembering", "Stealing", "Hiding",
	}
	themes = []string{
		"You", "the Night", "Tomorrow", "Home", "the Sea", "Gold", "Yesterday", "Nothing", "the Moon", "Summer", "the City",
		"Trouble", "My Shadow", "the Weather", "Paris", "Time", "Your Name", "the Light", "Stars", "Monday",
	}
)

// artistName is the i-th artist's name; names repeat, numbered, only when the words are used up.
func artistName(i int) string {
	people, bands := len(firstNames)*len(lastNames), len(adjectives)*len(nouns)
	total := people + bands
	// 1,549 is prime and divides neither size, so the walk visits every name before the first comes again.
	k, suffix := i*1549%total, ""
	if i >= total {
		suffix = " " + strconv.Itoa(i/total+1)
	}
	if k < people {
		return firstNames[k%len(firstNames)] + " " + lastNames[k/len(firstNames)] + suffix
	}
	k -= people
	return "The " + adjectives[k%len(adjectives)] + " " + nouns[k/len(adjectives)] + suffix
}

// songTitle is the title of the k-th song of an artist: different for different k of one artist.
func songTitle(artist, k int) string {
	plain, acting := len(adjectives)*len(nouns), len(verbs)*len(themes)
	total := plain + acting
	n := (artist*7919 + k*1549) % total
	suffix := ""
	if k >= total {
		suffix = ", Pt. " + strconv.Itoa(k/total+1)
	}
	if n < plain {
		return adjectives[n%len(adjectives)] + " " + nouns[n/len(adjectives)] + suffix
	}
	n -= plain
	return verbs[n%len(verbs)] + " " + themes[n/len(verbs)] + suffix
}

// albumTitle names the record the k-th song of an artist is on: ten songs a record.
func albumTitle(artist, k int) string {
	n := (artist*389 + k/10*97) % (len(nouns) * len(themes))
	return nouns[n%len(nouns)] + " & " + themes[n/len(nouns)]
}
