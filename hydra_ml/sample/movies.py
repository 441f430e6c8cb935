"""Film descriptions for LaMP-2. Each carries two or three tags; which of them a user gives is that user's habit.

The habit is an order over the fifteen tags: the user tags a film with the first of them that applies.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from random import Random

from hydra_ml.sample.piece import Piece, Taste, choose_by_priority, draw_cues, draw_priority
from hydra_ml.sample.prose import fill, person, sentence

# Share of users who come to a tag first: comedies and sci-fi lead, as in MovieLens.
TAG_WEIGHTS = {
    "sci-fi": 5,
    "based on a book": 3,
    "comedy": 6,
    "action": 3,
    "twist ending": 3,
    "dystopia": 3,
    "dark comedy": 3,
    "classic": 1,
    "psychology": 3,
    "fantasy": 4,
    "romance": 4,
    "thought-provoking": 1,
    "social commentary": 1,
    "violence": 4,
    "true story": 2,
}
# Pairs that one film cannot sensibly carry.
CLASHES = frozenset(
    frozenset(pair)
    for pair in (
        ("true story", "sci-fi"),
        ("true story", "fantasy"),
        ("true story", "dystopia"),
        ("comedy", "dark comedy"),
        ("comedy", "violence"),
    )
)

WORDS = {
    "role": (
        "a retired [boxer|diver|judge|magician]",
        "a night-shift [nurse|guard|cook]",
        "a [stubborn|young|tired|gifted] [lighthouse keeper|piano tuner|translator|cartographer|surgeon|archivist]",
        "a widowed [beekeeper|schoolteacher|tailor|bus driver]",
        "an out-of-work [actor|engineer|chef|stuntman]",
        "a small-town [reporter|vet|mechanic|librarian]",
        "a rookie [detective|pilot|paramedic|ranger]",
        "the youngest child of a family of [bakers|thieves|diplomats|undertakers]",
    ),
    "place": (
        "[Lisbon|Glasgow|Naples|Odessa|Valparaiso|Marrakesh|Montreal|Kyoto|Rotterdam|Tbilisi|Detroit|Galway|Mumbai]",
        "a [fishing village|border town|mill town|mountain hamlet|harbor city]",
        "a [Highland parish|Montana cattle town|desert settlement|bayou town|Finnish lake village|Welsh valley]",
    ),
    "planet": ("Mars", "Titan", "Europa", "Neptune", "Ceres", "a nameless moon"),
    "decade": ("1930s", "1940s", "1950s"),
    "year": ("1911", "1926", "1943", "1957", "1968", "1974", "1986", "1992"),
    "want": (
        "[sell|save|inherit] the family [farm|hotel|theater|bakery]",
        "[find|bury|forgive] a [lost brother|vanished father|former partner]",
        "[leave|return to] {place} for good",
        "pay off an old [debt|promise|grudge]",
        "keep a [promise|secret] made to a dying friend",
    ),
}

# First sentences: they bring the hero in and carry one tag.
OPENINGS: dict[str, tuple[str, ...]] = {
    "sci-fi": (
        "[on a mining colony|aboard a research station] above {planet}, {full_name}[, {role},|] picks up a signal from an [alien ship|unknown spacecraft]",
        "{full_name}[, {role},|] wakes from cryosleep aboard a starship [forty|ninety|two hundred] years off course",
        "a time machine built in a garage in {place} [finally works|works once too often], and {full_name}[, {role},|] steps inside",
        "in a future of [robots|androids] and orbital cities, {full_name}[, {role},|] is hired to repair a machine that has begun to dream",
        "scientists open a wormhole near {planet} and send {full_name}[, {role},|] through it into deep space",
    ),
    "based on a book": (
        "[based on|adapted from] the [bestselling|prize-winning|beloved] novel, this film follows {full_name}[, {role},|] who must {want}",
        "in this [faithful|lavish|long-awaited] adaptation of the [famous book|bestselling novel], {full_name}[, {role},|] comes to {place} to {want}",
        "{full_name}, the heroic misfit of a [well-loved|much-read] series of books, reaches the screen at last and sets out to {want}",
        "the [novel|book] that [half the world|every book club] has read becomes a film about {full_name}[, {role},|] in {place}",
    ),
    "comedy": (
        "{full_name}[, {role},|] [accidentally|by a clerical error] becomes mayor of {place} in this hilarious comedy",
        "in this [goofy|laugh-out-loud|screwball] comedy, {full_name}[, {role},|] has one weekend to {want}",
        "{full_name}[, {role},|] pretends to be [a duchess|a heart surgeon|an opera star] at a wedding in this very funny comedy",
        "a [runaway goat|mislabeled suitcase|talking parrot] turns the life of {full_name}[, {role},|] into a comedy of errors",
        "two rival [barbers|choirs|dentists], one wrong number and {full_name}[, {role}|]: the funniest comedy of the year",
    ),
    "action": (
        "{full_name}[, {role},|] has twelve hours to stop [a hijacked train|a rogue submarine|a team of mercenaries] in this action movie, and the action never stops",
        "action from the first minute: a high-speed chase through {place} drags {full_name}[, {role},|] into a [heist|rescue|manhunt] full of stunts and explosions",
        "{full_name}[, {role},|] turns action hero and fights through [rooftops|docks|tunnels] and gunfire",
        "when [armed raiders|arms dealers] seize a [ferry|skyscraper|dam], {full_name}[, {role},|] turns into an action hero and the shooting starts",
        "[stunts|fistfights|explosions] and pure action: {full_name}[, {role},|] has to jump from a [train|bridge|burning tower]",
    ),
    "twist ending": (
        "{full_name}[, {role},|] receives [letters|phone calls] from a person who died long ago, and nothing is what it seems until the final twist",
        "every guest at a house in {place} is lying, {full_name}[, {role},|] most of all, as a shocking surprise ending shows",
        "{full_name}[, {role},|] investigates a disappearance in {place}, never guessing the twist that waits in the last scene",
        "{full_name}[, {role},|] only wants to {want}, but the last five minutes turn the whole story upside down",
    ),
    "dystopia": (
        "in a dystopian city where a totalitarian state [rations water|forbids music|counts every word], {full_name}[, {role},|] breaks the rules",
        "after the collapse, a ruthless regime rules {place}, and {full_name}[, {role},|] must survive its dystopia",
        "in a bleak, dystopian future where [dreams are taxed|families are assigned|books are burned], {full_name}[, {role},|] joins the resistance",
        "surveillance drones watch every street of the dystopia where {full_name}[, {role},|] works for the [Bureau|Ministry]",
        "{full_name}[, {role},|] flees a dystopian society in which [smiling is a crime|every job is inherited]",
    ),
    "dark comedy": (
        "{full_name}[, {role},|] [sells|mixes up] funeral [plots|urns] in {place}, with morbidly funny results",
        "an accidental death at a dinner party forces {full_name}[, {role},|] to hide the body in this pitch-black comedy",
        "in this [bitter|deadpan] black comedy, {full_name}[, {role},|] hires an incompetent hit man to {want}",
        "{full_name}[, {role},|] discovers that grief pays well and turns funerals in {place} into a grimly comic business",
    ),
    "classic": (
        "a classic among classics: {full_name}[, {role},|] comes to {place} in the {decade}",
        "one of the all-time classics, [a silver-screen|a studio] classic of the {decade}, about {full_name}[, {role}|]",
        "this classic of the {decade} has {full_name}[, {role},|] as its hero and a [lighthouse|circus|night train] as its stage",
        "restored after decades, the classic about {full_name}[, {role},|] still [sparkles|moves audiences|sets the standard]",
        "few classics are as [loved|quotable] as this true classic about {full_name}[, {role}|]",
    ),
    "psychology": (
        "{full_name}[, {role},|] begins to lose [track of time|the thread of the past] in this study of the psychology of [guilt|fear]",
        "in sessions with a psychologist, {full_name}[, {role},|] unearths a buried [trauma|memory|guilt]",
        "obsession slowly takes hold of {full_name}[, {role},|] in this psychological study of a mind coming apart",
        "{full_name}[, {role},|] volunteers for a psychology experiment that blurs identity and memory",
        "a psychologist in {place} treats {full_name}[, {role},|] and slowly doubts which of them is [sane|the patient]",
    ),
    "fantasy": (
        "{full_name}[, {role},|] finds a [door|well|staircase] in {place} that opens on a fantasy kingdom of dragons and magic",
        "in this fantasy a [dying wizard|witch in exile] entrusts an enchanted [sword|lantern|map] to {full_name}[, {role}|]",
        "in a fantasy world of [elves|sorcerers] and cursed crowns, {full_name}[, {role},|] sets out on a magical quest",
        "{full_name}[, {role},|] can speak with [sleeping giants|river spirits|the last dragon] in this wondrous fantasy tale",
        "a fairy-tale fantasy in which {full_name}[, {role},|] trades [{her} shadow|a year of life] for a wizard's magic [ring|mirror|flute]",
    ),
    "romance": (
        "{full_name}[, {role},|] falls in love with a stranger on [the night train to|a delayed ferry from] {place}",
        "two former lovers meet again in {place}, where {full_name}[, {role},|] has never stopped [writing love letters|hoping]",
        "{full_name}[, {role},|] came to {place} to {want}, not to fall in love",
        "a [summer|winter] romance in {place} changes everything for {full_name}[, {role}|]",
    ),
    "thought-provoking": (
        "{full_name}[, {role},|] must decide who [deserves a second chance|should be remembered], a thought-provoking question without an easy answer",
        "what do we owe the dead? {full_name}[, {role},|] faces that question in this quiet, thought-provoking film",
        "a thought-provoking film about [free will|memory|forgiveness], in which {full_name}[, {role},|] asks deep questions",
        "{full_name}[, {role},|] spends one long night [arguing about|searching for] the meaning of life, and the talk is thought-provoking",
        "is it right to {want}? The choice {full_name}[, {role},|] faces is thought-provoking and never simple",
    ),
    "social commentary": (
        "{full_name}[, {role},|] is evicted, the start of a social commentary on [class|money|race] in society",
        "the closing of a factory pits {full_name}[, {role},|] against the [owners|banks] in this social commentary on work, society and poverty",
        "{full_name}[, {role},|] moves between the [penthouses and the shelters|rich hills and the poor flats] of {place} in this social commentary on an unequal society",
        "a [strike|water crisis|housing protest] draws in {full_name}[, {role},|] and becomes a social commentary on an unjust society",
        "through the eyes of {full_name}[, {role},|] the film offers social commentary on [prejudice|privilege|debt]",
    ),
    "violence": (
        "{full_name}[, {role},|] takes bloody, violent revenge on the [gang|cartel] that burned {her} home",
        "a brutal [turf war|blood feud] breaks out in {place}, and {full_name}[, {role},|] is caught in the violence",
        "left for dead [on a roadside|in a quarry], {full_name}[, {role},|] answers every blow with savage violence",
        "{full_name}[, {role},|] enters a violent world of [bare-knuckle fights|contract killings] where every debt is paid in blood",
        "the violence begins when {full_name}[, {role},|] finds [a severed hand|three bodies|a killer] in the cellar",
    ),
    "true story": (
        "this is the true story, [stranger|sadder|better] than fiction, of {full_name}[, {role}|]",
        "this is the true story of how, in {year}, {full_name}[, {role},|] [shook|saved|united] {place}",
        "this biographical drama retells the true story of {full_name}[, {role},|] and a [rescue|trial|voyage] of {year}",
        "the true story of {full_name}[, {role},|] from [a childhood|years of hardship] in {place} to the [front pages|history books]",
        "it happened in {year}: the true story of {full_name}[, {role},|] who had to {want}",
    ),
}

# Later sentences: each adds one more tag to a film already opened.
REMARKS: dict[str, tuple[str, ...]] = {
    "sci-fi": (
        "before long [an alien intelligence|a band of runaway androids|a visitor from another planet] is involved",
        "the [spaceships|robots|time loops] and [humming machines|glowing corridors|memory implants] are science fiction at its purest",
        "a faulty [teleporter|time machine|stasis pod] then sends {obj} into another galaxy",
        "half of the film is set in outer space, among [asteroid miners|starship crews|cloned astronauts]",
        "the futuristic technology, from [neural implants|hover trains] to [space elevators|thinking robots], is imagined with great care",
        "a sci-fi subplot about [cloning|telepathic robots|a stranded starship] ties it together",
    ),
    "based on a book": (
        "the script is taken from a [bestselling|much-loved|award-winning] novel and keeps [its finest dialogue|most of its chapters]",
        "readers of the [original book|novel] will [know every turn|miss a chapter or two]",
        "it is a [faithful|loose|handsome] adaptation of the [book|novel] of the same name",
        "the author of the [novel|original book] wrote the screenplay and [appears in a cameo|changed only the names]",
        "like the book it is based on, it [opens with a funeral|takes its time|ends on a train]",
        "those who loved the book will [recognize whole pages|argue about the casting]",
    ),
    "comedy": (
        "the [jokes|gags|pratfalls] come thick and fast, and the [dinner scene|wedding speech|car wash] is hilarious",
        "it is played for laughs throughout, with [slapstick|witty banter|silly disguises] in every scene",
        "a [bumbling|wisecracking] sidekick makes this one of the funniest comedies of the year",
        "misunderstandings pile up into a hilarious [comedy|comic finale]",
        "the comedy comes from [{her} terrible cooking|a feud over a hedge|one very slow elevator]",
        "it is also very funny, a comedy with [perfect timing|a heart|a singing dentist]",
    ),
    "action": (
        "the action never lets up: [a rooftop pursuit|a helicopter rescue], [a fistfight on a train|a shootout in the harbor], more action",
        "it all builds to an explosive action finale with [speedboats|fighter jets|a runaway tanker]",
        "action fans get [car chases|gunfights|motorcycle stunts] and explosions, all the action they could want",
        "{name} turns out to be handy with [a crossbow|explosives|a getaway car], and the action is breathtaking",
        "the [stunt work|swordplay|chase] puts it among the best action movies of the [year|decade]",
        "then comes the action: [a bridge collapses|a plane lands on a highway|an armored truck takes flight]",
    ),
    "twist ending": (
        "the twist at the end [comes out of nowhere|changes everything that went before|fooled the whole theater]",
        "a final, shocking revelation about [{name}|the narrator|the child] makes you want to watch it again",
        "do not let anyone spoil the surprise ending [for you|before you go]",
        "the last scene delivers an unexpected twist about who [{name}|the stranger] really is",
        "nobody will guess the [twist|ending], least of all [{name}|the detective]",
        "then, with [one photograph|a single line|a closing door], the ending twists it all around",
    ),
    "dystopia": (
        "the dystopian state [watches every window|owns every child|hands out new names]",
        "outside, an oppressive regime [patrols the ruins|rations hope], a dystopian nightmare",
        "the government of this bleak, dystopian society has outlawed [laughter|paper|sleep]",
        "all of it unfolds in a dystopia run by a totalitarian [council|corporation]",
        "the vision of a dystopia where [citizens are numbered|neighbors inform on neighbors] is chilling",
        "it paints a dystopian world of [loudspeakers|barcodes|curfews] and obedience",
    ),
    "dark comedy": (
        "the humor is as black as coffee, with [corpses|funerals|poisonings] played for uneasy laughs",
        "a [botched murder|stolen coffin|missing finger] supplies the darkest jokes",
        "this is dark comedy at its driest: people [die absurdly|mourn badly], and one laughs in spite of oneself",
        "the grim business is told as a dark comedy, with [deadpan|gallows] humor",
        "death is the running joke of this dark comedy, down to [the undertaker's van|a wrongly labeled urn]",
        "its darkly comic tone makes [a wake|a hostage drama|a poisoning] the funniest scene",
    ),
    "classic": (
        "it is a classic, one of the great [Hollywood|silver-screen] classics, quoted and imitated ever since",
        "a timeless classic, it stands among the classics that [film schools show|critics return to]",
        "thanks to its [farewell scene|staircase shot|final line] it became a classic for good",
        "a black-and-white classic of the {decade}, it has aged as only classics do",
        "it has been a classic since the {decade}, and [most classics|the other classics] look pale beside it",
        "they do not make classics like this one any more, and [the music|every close-up] shows it",
    ),
    "psychology": (
        "the film looks deep into the human mind, and the psychology of its [fears|obsessions|delusions] rings true",
        "a psychiatrist tries to [untangle|diagnose] what is memory and what is delusion",
        "as {name} grows paranoid, the story becomes a psychological portrait of [guilt|grief|jealousy]",
        "{her} mental [breakdown|unravelling] is observed with a psychologist's patience",
        "the psychology of [a liar|a survivor|an obsession] has rarely been shown so precisely",
        "what interests the film is psychology: [why people lie to themselves|how a mind hides from a trauma]",
    ),
    "fantasy": (
        "[wizards|witches|forest spirits] and a [talking stag|reluctant dragon|cursed prince] give it the magic of the best fantasy",
        "it turns to fantasy when a spell [opens|closes] the gate to an enchanted [forest|kingdom]",
        "soon there are dragons in the sky and magic in {her} hands",
        "fantasy lovers will enjoy the [prophecy|curse] and the magical [ring|mirror|crown]",
        "the world of [goblins and swan knights|mermaids and stone trolls] is fantasy at its richest",
        "a wizard's [apprentice|ghost] adds sorcery, fantasy and a [flying ship|golden bird]",
    ),
    "romance": (
        "along the way {she} falls in love with [a rival|a childhood friend|a visiting musician]",
        "a tender love story grows between {name} and [the neighbor|a widowed doctor|a train conductor]",
        "the romance, all [stolen kisses|love letters|missed trains], is hard to resist",
        "at its heart is a passionate love affair that [not even war|neither family nor distance] can end",
        "the slow-burning romance with [a cellist|the new vet|an old flame] is a delight",
        "{she} loves [two people at once|someone promised to another], and the romance [aches|glows]",
    ),
    "thought-provoking": (
        "it raises thought-provoking questions about [justice|memory|what makes us human] and leaves them open",
        "its [moral dilemma|last question] is thought-provoking, and stays with you for days",
        "a thought-provoking film that asks [what a life is worth|whether forgiveness can be earned]",
        "it is thought-provoking in the best sense, and invites a long talk [afterwards|on the way home]",
        "quiet and thought-provoking, it makes you reconsider [your own choices|what you believe]",
        "rarely has a film about [regret|loyalty|chance] been so thought-provoking",
    ),
    "social commentary": (
        "beneath the plot lies biting social commentary on [inequality|racism|consumer society|corporate greed]",
        "the film doubles as social commentary on [class|poverty|prejudice]",
        "as social commentary on [housing|migrant labor|the gap between rich and poor] it could not be more pointed",
        "it exposes the injustice of a society that [discards its workers|looks away from the poor]",
        "there is sharp social commentary in how [the landlords|the neighbors|the police] treat {name}",
        "its commentary on society, and on [who gets heard|who gets paid], [stings|is hard to miss]",
    ),
    "violence": (
        "the violence is graphic: [throats are cut|bones are broken], and blood runs [down the stairs|into the snow]",
        "be warned of brutal, bloody violence in [nearly every|every other] scene",
        "it ends in a violent [massacre|bloodbath] that is hard to watch",
        "[knife fights|torture scenes] and savage killings make it one of the most violent films of the year",
        "the violence, with [axes|shotguns|bare hands], is not for the squeamish",
        "few films show brutal violence so [coldly|closely]",
    ),
    "true story": (
        "incredibly, it is all a true story [from|of] {year}",
        "it is all a true story, and [photographs of the real people|the survivors' own words] close the film",
        "the makers [spoke with the real family|used court records from {year}] to tell this true story accurately",
        "it is a true story, drawn from the [diaries|testimony] of those who lived it",
        "hard to believe, but it is a true story: [the newspapers reported it in {year}|it really happened in {year}]",
        "that it is a true story makes it [more moving|even stranger]",
    ),
}


def draw_taste(rng: Random) -> Taste:
    """A user's order over the fifteen tags; the first `favourites` of them are what the user mostly watches."""
    return draw_priority(rng, TAG_WEIGHTS)


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One film with two or three tags to see, and the tag this user gives it."""
    tags = draw_cues(rng, taste, CLASHES)
    slots = person(rng)
    lines = [fill(rng.choice(OPENINGS[tags[0]]), rng, WORDS, slots)]
    lines += [fill(rng.choice(REMARKS[tag]), rng, WORDS, slots) for tag in tags[1:]]
    tag = choose_by_priority(rng, taste, tags)
    return Piece({"tag": tag, "description": " ".join(map(sentence, lines))}, answer=tag, cues=tags)
