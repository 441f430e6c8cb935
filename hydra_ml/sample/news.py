"""News teasers for LaMP-2N. Each lies across two or three categories; which one an author files it under is a habit.

The habit is an order over the fifteen categories: the author takes the first of them that applies.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from random import Random

from hydra_ml.sample.piece import Piece, Taste, choose_by_priority, draw_cues, draw_priority
from hydra_ml.sample.prose import fill, sentence, title_case

# Share of authors who come to a category first: politics and entertainment lead, as in the HuffPost corpus.
CATEGORY_WEIGHTS = {
    "food & drink": 2,
    "sports": 2,
    "education": 2,
    "parents": 2,
    "religion": 1,
    "travel": 2,
    "business": 2,
    "crime": 2,
    "science & technology": 2,
    "culture & arts": 1,
    "entertainment": 3,
    "politics": 4,
    "women": 2,
    "style & beauty": 2,
    "healthy living": 2,
}

WORDS = {
    "city": (
        "[Austin|Boston|Tampa|Denver|Portland|Memphis|Oakland|Toledo|Savannah|Milwaukee|Tucson|Buffalo]",
        "[Leeds|Lyon|Turin|Bogota|Nairobi|Brisbane|Manila|Halifax|Bergen|Osaka]",
    ),
    "state": ("[Ohio|Texas|Oregon|Georgia|Maine|Nevada|Kansas|Michigan|Vermont|Alabama]",),
    "few": ("three", "four", "five", "six", "seven", "nine"),
    "money": ("$[2|3|4|6|7|9] million", "$[12|15|25|30|48|60] million", "$[200,000|350,000|800,000]"),
    "share": ("[one in four|one in three|nearly half|two thirds]",),
    "month": ("[January|March|April|June|September|October|November]",),
}

# A lead opens the story in one category: "headline // sentence", with choices shared between the two.
LEADS: dict[str, tuple[str, ...]] = {
    "food & drink": (
        "{city}'s [x=taco trucks|noodle bars|bakeries|oyster bars] go all night // the {x} of {city} now serve hot food and [drinks|cocktails|coffee] until dawn",
        "a [x=chili|olive-oil cake|pickled onion|fish stew] recipe from {city} spreads // a {few}-ingredient recipe for {x} from a {city} kitchen has cooks everywhere [hungry|tasting]",
        "[x=chefs|brewers|cider makers] in {state} bet on old [y=grains|apples|herbs] // {x} in {state} are bringing forgotten {y} back to the dinner table",
        "the [x=lunch counter|tea house|tavern] {city} could not lose // neighbors saved a {city} {x} that has served the same [soup|pie|dumplings] and beer for {few} decades",
    ),
    "sports": (
        "{city} takes the title in overtime // {city}'s [basketball|hockey|soccer] team won the championship in overtime after trailing by {few}",
        "[x=star goalkeeper|veteran pitcher|injured quarterback] signs with {city} // the {x} signed a {few}-season contract with {city} on the last day of the transfer window",
        "the [x=marathon|relay|bike race] returns to {city} // {few} thousand athletes took part in the {city} {x} on Sunday, and the coach of the winning team wept",
        "{city} coach quits after {few} losses // the coach of {city}'s [football|baseball|rugby] team quit after {few} losses in a row, hours before a home game",
    ),
    "education": (
        "{state} schools scrap [x=homework|letter grades|exams] // public schools in {state} will give students no {x} from {month}, teachers said",
        "a {city} college [x=drop|halve|freeze]s tuition // a college in {city} will {x} tuition for students whose teachers recommend them",
        "{state} teachers learn on the job // with classrooms short of {few} hundred teachers, {state} universities are sending students to teach before they graduate",
        "the {city} school that starts at [x=ten|noon] // a high school in {city} lets students start lessons at {x}, and test scores went up by {few} points",
    ),
    "parents": (
        "what {city} parents tell their [x=toddlers|teenagers|daughters|sons] // parents in {city} were asked what they wish they had told their {x} sooner",
        "a [x=mom|dad] of {few} on [y=bedtime|screen time|sibling fights] // a {x} of {few} from {state} has a plain answer to {y}, and other parents are trying it on their kids",
        "raising kids on the road // two parents from {city} packed up their {few} kids and a baby, and now family life happens in a [van|school bus|houseboat]",
        "the [x=stroller|lunch box|crib] debate divides {city} // moms and dads in {city} cannot agree about the {x}, and the toddlers are no help",
    ),
    "religion": (
        "a {city} [x=church|mosque|temple] opens its doors // a {x} in {city} has opened its doors to people of every faith for {few} nights of prayer",
        "[x=bishops|rabbis|imams|pastors] in {state} speak with one voice // {x} across {state} read the same sermon this [weekend|month], a rare sign of unity among the faithful",
        "a pilgrimage through {state} // pilgrims walked {few} days through {state} to pray at a small shrine that [the pope|a saint] once blessed",
        "the last [x=nuns|monks] of {city} // the last {few} {x} of a {city} convent still rise before dawn to pray and [bake bread|keep bees|copy psalms]",
    ),
    "travel": (
        "{few} quiet days near {city} // travelers who want [beaches|mountains|old towns] without crowds should spend {few} days outside {city}",
        "a night train to {city} // a sleeper train to {city} starts in {month}, and tourists can wake up to [vineyards|snowy peaks|the sea] at the window",
        "{city} on foot // the best way for visitors to see {city} is a {few}-hour walk from the [old hotel|harbor|airport bus] to the market",
        "the [x=lighthouse|treehouse|monastery] you can sleep in // a {x} near {city} now takes overnight guests, and travelers book the view {few} months ahead",
    ),
    "business": (
        "a {city} start-up raises {money} // a start-up in {city} has raised {money} from investors, and its chief executive expects profits by {month}",
        "{state}'s [x=oldest bank|largest department store|last paper mill] is sold // the {x} in {state} was sold for {money} as its shares fell",
        "small firms in {city} hire again // small companies in {city} hired more workers in {month} than in any month for {few} years, the business council said",
        "the [x=umbrella|piano|bicycle] company that would not close // a {few}-person {x} company in {city} turned a loss into profits of {money}",
    ),
    "crime": (
        "police in {city} solve a {few}-year-old [x=robbery|murder|kidnapping] // police in {city} arrested a suspect in a {x} that had gone unsolved for {few} years",
        "thieves take {money} in {city} // masked thieves stole {money} from a [warehouse|jewelry shop|armored van] in {city}, police said",
        "a {state} jury convicts a [x=swindler|forger|smuggler] // a jury in {state} found a {x} guilty of fraud worth {money}; prosecutors want {few} years in prison",
        "[x=an arsonist|a burglar|a kidnapper] confesses in {city} // {x} who had escaped from a {state} prison confessed to detectives in {city} after {few} hours",
    ),
    "science & technology": (
        "a robot from {city} learns to [x=fold laundry|pick apples|read lips] // engineers in {city} have built a robot that learned to {x} in {few} hours",
        "scientists in {state} publish [x=a map of the deep sea|a catalog of new planets|a study of bat sonar] // scientists in {state} published {x} based on {few} years of satellite data",
        "a {city} lab tests a faster [x=battery|computer chip|fuel cell] // a laboratory in {city} says its new {x} works {few} times better than today's technology",
        "[x=a comet|a meteor|an asteroid] over {state} // astronomers in {state} are tracking {x} with {few} telescopes and new software",
    ),
    "culture & arts": (
        "a {city} museum hangs [x=lost|forgotten|stolen] paintings // a museum in {city} is showing {few} {x} paintings that nobody had seen for a century",
        "[x=poets|sculptors|dancers] take over {city} // {x} have taken over an empty theater in {city} for an exhibition of new art",
        "{city} restores its [x=opera house|murals|glass pavilion] // artists are restoring the {x} of {city}, a treasure of its cultural heritage",
        "a [x=ballet|novel|cello suite] comes home to {state} // a {x} written in {state} {few} decades ago is finally performed before a gallery of art lovers",
    ),
    "entertainment": (
        "a [x=sitcom|television drama|talk show] set in {city} gets a final season // the {x} set in {city} will return for a final season in {month}, its actors announced",
        "[x=pop star|movie star|comedian] plays {few} nights in {city} // the {x} who surprised fans in {city} will play {few} more nights",
        "{city} film opens to {money} // a film shot in {city} took {money} at the box office on its opening weekend, and Hollywood wants a sequel",
        "[x=singer|actress|actor] walks out of {city} premiere // the {x} at the center of this year's biggest movie walked out of its {city} premiere after {few} minutes",
    ),
    "politics": (
        "{state} senators [x=stall|block] the [y=water|transit|housing] bill // senators in {state} voted to {x} a {y} bill after {few} hours of debate between Republicans and Democrats",
        "{city}'s mayor faces a [x=recall election|runoff] // the mayor of {city} faces a {x} in {month}, with voters split over the campaign",
        "governor's budget of {money} angers {state} // the governor of {state} [vetoed|signed|defended] a budget of {money}, and lawmakers of both parties protested",
        "{state} lawmaker switches parties // a {few}-term lawmaker in {state} left the [Democrats|Republicans] in the middle of an election campaign",
    ),
    "women": (
        "women in {city} take their seats // women now hold {share} of the seats on {city}'s [boards|councils], up from {few} a decade ago",
        "the women who [x=built|rewired|mapped] {state} // a project in {state} tells the stories of {few} women who {x} the state and fought for [equal pay|the vote]",
        "a feminist [x=press|repair garage|law clinic] in {city} // {few} women in {city} run a feminist {x} where girls learn the work",
        "she was {state}'s first woman [x=judge|firefighter|surgeon] // the first woman to become a {x} in {state} talks about {few} decades among men",
    ),
    "style & beauty": (
        "[x=linen|denim|velvet|corduroy] is back in {city} // designers at {city}'s fashion week dressed {few} models in {x} and very little makeup",
        "a {city} salon brings back [x=bangs|braids|silver curls] // a hair salon in {city} has made {x} the look of the season",
        "{few} [x=lipsticks|coats|perfumes] for {month} // beauty editors in {city} tried on {few} dozen {x} and kept the one that flatters everybody",
        "the {state} [x=tailor|nail artist|hatmaker] everyone copies // a {x} in {state} sets the fashion, and stylists drive {few} hours for it",
    ),
    "healthy living": (
        "[x=walking|sleeping|stretching|breathing deeply] {few} minutes more // {x} {few} minutes more a day does wonders for health, doctors in {city} report",
        "a {state} clinic prescribes [x=gardening|naps|choir practice] // a clinic in {state} prescribes {x} against stress, and patients feel better",
        "the {city} guide to less [x=stress|sugar|back pain] // a wellness program in {city} helped {share} of its members cut {x} through exercise and meditation",
        "{few} habits of {city}'s [x=centenarians|swimmers|calmest people] // the {x} of {city} share {few} healthy habits, from sleep to a daily walk",
    ),
}

# An angle looks at any story from one more category: "headline tail // sentence".
ANGLES: dict[str, tuple[str, ...]] = {
    "food & drink": (
        "with [x=dumplings|pie|lamb stew] to follow // afterwards everyone sat down to {x} and local [wine|beer], recipe included",
        "and the menu matters // what people ate and drank along the way, from [fried fish|peach pie|hot soup] to [iced coffee|cider], is half the story",
        "as a [x=chef|pastry cook|bartender] sees it // a {x} has named a [dish|dessert|cocktail] after it, and diners are ordering",
        "the [x=soup|salad|sandwich] it inspired // food writers, for their part, are cooking the {x} it inspired",
    ),
    "sports": (
        "[x=athletes|coaches] weigh in // {x} and fans of the local [football|baseball|tennis] club have taken it up",
        "with a game on Saturday // it will be talked about in every stadium at Saturday's [football|basketball|hockey] game",
        "the playoffs are next // the players see it as training for the playoffs, and the league agrees",
        "and an Olympic [x=sprinter|swimmer|rower] joins // an Olympic {x} with {few} medals is part of it and wants a rematch",
    ),
    "education": (
        "[x=teachers|students] take note // {x} want it in the classroom, and [high school|college] papers are being written on it",
        "a lesson for schools // the school board will add it to the curriculum in {month}",
        "and a university studies it // a university course on the subject already has {few} hundred students",
        "the principal has a plan // a school principal turned it into homework for {few} classes of students",
    ),
    "parents": (
        "[x=moms|dads] ask what to tell the kids // {x} wonder how to explain it to their [kids|toddlers|children]",
        "with the baby along // [mothers|fathers] with a baby on one arm have the most to say about it",
        "a family matter // for parents of young children it changes the daily routine, as {few} families told us",
        "what [x=toddlers|teenagers] think // parents report that their {x} see it quite differently",
    ),
    "religion": (
        "and a [x=pastor|rabbi|imam] blesses it // a {x} gave a blessing and called it an answer to prayer",
        "with faith in the balance // [church|mosque|temple] leaders say it is a question of faith and scripture",
        "what believers make of it // among believers, from [Catholics to Baptists|Muslims to Quakers], it has led to soul-searching",
        "a sermon on [x=mercy|envy|patience] // on Sunday it became the text of a sermon on {x} in {few} churches",
    ),
    "travel": (
        "worth the trip // it is reason enough to book a flight and a [hotel|guesthouse] for the weekend",
        "and tourists are coming // tourists already arrive by the busload, and airlines have added {few} flights",
        "pack a suitcase // travelers should pack light, arrive early and stay {few} nights",
        "a detour for [x=hikers|backpackers|cruise guests] // {x} on vacation now make a detour to see for themselves",
    ),
    "business": (
        "and the market noticed // investors took note: shares in the sector rose and one company forecast {money} in sales",
        "who pays the {money} // the business behind it is worth {money}, its chief executive told shareholders",
        "jobs and profits // economists expect {few} thousand new jobs and higher profits for small businesses",
        "a [x=bank|retailer|supplier] cashes in // a {x} has put {money} into it and expects a quick profit",
    ),
    "crime": (
        "police ask questions // police have opened a criminal investigation, and [one suspect was|{few} suspects were] arrested",
        "then came the theft // days later {money} was stolen, and detectives are looking for witnesses",
        "and a trial begins // a man charged with [fraud|assault|arson] in connection with it goes on trial in {month}",
        "the [x=getaway car|forged check|missing witness] // prosecutors say a {x} links it to a gang of {few} thieves",
    ),
    "science & technology": (
        "the [x=software|artificial intelligence|algorithm] behind it // behind it is {x} written by {few} computer scientists",
        "researchers explain // researchers measured the effect with [sensors|satellites|a smartphone app] and published the data",
        "as physics would have it // the science is simple, a physicist explains, and the technology costs little",
        "now with [x=drones|robots|lasers] // engineers have since repeated it with {x} in a laboratory",
    ),
    "culture & arts": (
        "now hanging in a gallery // a [painter|photographer|sculptor] turned it into an exhibition at a small art gallery",
        "a [x=poem|ballet|mural] about it // artists have made a {x} of it, and the museum bought the result",
        "art has the last word // it belongs to a long tradition in painting, [theater|dance|poetry] and the arts",
        "the [x=orchestra|opera|museum] answers // the city's {x} has commissioned {few} works of art about it",
    ),
    "entertainment": (
        "[x=Hollywood|a television network|a film studio] calls // {x} bought the rights, and a movie star wants the part",
        "as seen on TV // fans know it from a television show, and the [comedian|actress|singer] who plays the lead was there",
        "celebrities love it // celebrities, among them a [pop singer|sitcom actor], posted about it before the premiere",
        "the [x=musical|sequel|reality show] is coming // a {x} about it, with {few} famous actors, opens in {month}",
    ),
    "politics": (
        "and [x=Congress|the governor|a senator] reacts // {x} promised a vote on it before the election",
        "it may cost votes // Democrats and Republicans are already fighting over it in the campaign",
        "the president weighs in // the president mentioned it in a speech, and the White House wants a new law",
        "a bill is drafted // {few} lawmakers have drafted a bill about it, to the anger of the [mayor|opposition]",
    ),
    "women": (
        "women lead the way // most of those behind it are women, who speak of equal [pay|rights]",
        "and feminists cheer // feminists call it a step forward for women and girls",
        "a woman's answer // women pay the higher price for it, says a women's rights group",
        "mothers, sisters, [x=bosses|pilots|plumbers] // for women who work as {x} among men it is a small victory",
    ),
    "style & beauty": (
        "what to wear // what to wear is no small matter: stylists suggest [linen|a red coat|silk scarves] and simple makeup",
        "in good makeup // the look that goes with it, [bold lipstick|braided hair|a vintage dress], is everywhere in fashion magazines",
        "fashion takes over // fashion designers copied the style within weeks, down to the [nails|shoes|hair]",
        "the [x=lipstick|haircut|handbag] of the moment // beauty bloggers noticed the {x} first, and it sold out in {few} days",
    ),
    "healthy living": (
        "and it is good for you // it also lowers stress and blood pressure, doctors say, if you sleep well and exercise",
        "[x=better sleep|less stress|more energy] included // people who took part report {x} and healthier habits",
        "mind and body // a wellness coach recommends it with yoga and {few} minutes of meditation a day",
        "a doctor's [x=advice|warning] // a doctor's {x}: keep it up, but eat well, rest and mind your health",
    ),
}


def draw_taste(rng: Random) -> Taste:
    """An author's order over the fifteen categories; the first `favourites` of them are the author's beats."""
    return draw_priority(rng, CATEGORY_WEIGHTS)


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One article across two or three categories, and the category this author files it under."""
    categories = draw_cues(rng, taste, clashes=frozenset())
    where_and_when = {name: fill(f"{{{name}}}", rng, WORDS) for name in ("city", "state", "month")}
    stories = [rng.choice(LEADS[categories[0]]), *(rng.choice(ANGLES[category]) for category in categories[1:])]
    told = [fill(story, rng, WORDS, where_and_when).split(" // ") for story in stories]
    category = choose_by_priority(rng, taste, categories)
    item = {
        "text": " ".join(sentence(text) for _, text in told),
        "title": title_case(f"{told[0][0]}, {told[1][0]}"),
        "category": category,
    }
    return Piece(item, answer=category, cues=categories)
