"""What the default model is told about the world, as plain tables.

Small on purpose: a model of a few million parameters learns what it sees often.
"""

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olivia Paul Rosa Sam Tom Uma
Victor Wendy Zoe Alice Bob Carl Diana Eric Fiona George Hannah Ivan Julia Kevin Laura Max Nora Oscar Peter Ruth
Simon Tina Walter Yara Adam Bella Charlie Daisy Edward Frank Gina Hugo Irene James Karen Lily Martin Nina Otto
Polly Robert Sarah Theo Vera William Amy Brian Chloe Daniel Ella Finn Greta Harry Isabel John Kim Lucy Mark Nancy
Owen Rachel Steve Toby Alex Betty Colin Dora Elena Fred Gus Helen Iris Jane Karl Lena Mary Nick Pia Rick Sophie
Tim Ursula Will Abby Boris Cora Dan Eva Flora Gary Heidi Ian Joe Kira Luke Maya Ned Pam Ralph Sally Tara Vince
Andy Ann Beth Cathy Dean Erin Gwen Holly Jenny Keith Linda Mike Molly Neil Patrick Ron Sue Ted Viola Zack""".split()

PET_NAMES = """Rex Bella Luna Max Coco Fluffy Spot Rusty Daisy Milo Tiger Snowy Ginger Buddy Pepper Lucky Shadow Misty
Biscuit Patch Whiskers Honey Bruno Molly Oscar Ruby Simba Toffee Willow Ziggy Bingo Cookie Dusty Jasper Smokey
Nibbles Poppy Sunny Teddy Pip""".split()

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "England": "London",
    "Scotland": "Edinburgh", "Ireland": "Dublin", "Wales": "Cardiff", "Portugal": "Lisbon", "Greece": "Athens",
    "Austria": "Vienna", "Switzerland": "Bern", "Belgium": "Brussels", "the Netherlands": "Amsterdam",
    "Denmark": "Copenhagen", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Iceland": "Reykjavik",
    "Poland": "Warsaw", "Hungary": "Budapest", "Russia": "Moscow", "Ukraine": "Kyiv", "Turkey": "Ankara",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Morocco": "Rabat", "India": "New Delhi", "China": "Beijing",
    "Japan": "Tokyo", "South Korea": "Seoul", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Australia": "Canberra",
    "New Zealand": "Wellington", "Canada": "Ottawa", "Mexico": "Mexico City", "Cuba": "Havana", "Brazil": "Brasilia",
    "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima", "Colombia": "Bogota",
    "the United States": "Washington",
}  # fmt: skip

# name: (sound, baby, home, food, legs)
ANIMALS = {
    "dog": ("barks", "puppy", "in a kennel", "bones", 4),
    "cat": ("meows", "kitten", "in a house", "fish", 4),
    "cow": ("moos", "calf", "in a barn", "grass", 4),
    "sheep": ("says baa", "lamb", "on a farm", "grass", 4),
    "horse": ("neighs", "foal", "in a stable", "hay", 4),
    "pig": ("oinks", "piglet", "in a sty", "corn", 4),
    "duck": ("quacks", "duckling", "on a pond", "weeds", 2),
    "hen": ("clucks", "chick", "in a coop", "seeds", 2),
    "lion": ("roars", "cub", "on the plains", "meat", 4),
    "frog": ("croaks", "tadpole", "in a pond", "flies", 4),
    "bee": ("buzzes", "larva", "in a hive", "nectar", 6),
    "owl": ("hoots", "owlet", "in a tree", "mice", 2),
    "wolf": ("howls", "pup", "in a den", "meat", 4),
    "mouse": ("squeaks", "pup", "in a hole", "cheese", 4),
    "snake": ("hisses", "snakelet", "in the grass", "mice", 0),
    "goat": ("bleats", "kid", "on a farm", "leaves", 4),
    "donkey": ("brays", "foal", "in a stable", "hay", 4),
    "bear": ("growls", "cub", "in a cave", "honey", 4),
    "elephant": ("trumpets", "calf", "on the plains", "leaves", 4),
    "monkey": ("chatters", "baby", "in the jungle", "bananas", 4),
    "crow": ("caws", "chick", "in a nest", "worms", 2),
    "turkey": ("gobbles", "poult", "on a farm", "seeds", 2),
    "goose": ("honks", "gosling", "by a lake", "grass", 2),
    "rabbit": ("squeaks", "kit", "in a burrow", "carrots", 4),
}  # fmt: skip

COLOURS = ["red", "blue", "green", "yellow", "orange", "purple", "pink", "brown", "black", "white", "grey"]

# What has which colour, with "a", "the" or nothing before it.
COLOURED = {
    "the sky": "blue", "the sea": "blue", "grass": "green", "a leaf": "green", "a frog": "green",
    "a cucumber": "green", "a pea": "green", "a lime": "green", "snow": "white", "milk": "white", "a cloud": "white",
    "a swan": "white", "salt": "white", "a polar bear": "white", "coal": "black", "a crow": "black",
    "the night sky": "black", "a banana": "yellow", "the sun": "yellow", "a lemon": "yellow", "a chick": "yellow",
    "corn": "yellow", "butter": "yellow", "a strawberry": "red", "a tomato": "red", "a cherry": "red",
    "blood": "red", "a fire engine": "red", "a ladybird": "red", "a ruby": "red", "a carrot": "orange",
    "an orange": "orange", "a pumpkin": "orange", "a plum": "purple", "an eggplant": "purple", "lavender": "purple",
    "chocolate": "brown", "coffee": "brown", "soil": "brown", "a chestnut": "brown", "a pig": "pink",
    "a flamingo": "pink", "an elephant": "grey", "a mouse": "grey", "a rain cloud": "grey", "an emerald": "green",
}  # fmt: skip

MIXES = {
    ("red", "yellow"): "orange", ("red", "blue"): "purple", ("blue", "yellow"): "green", ("red", "white"): "pink",
    ("black", "white"): "grey", ("red", "green"): "brown",
}  # fmt: skip

OPPOSITES = [tuple(pair.split("/")) for pair in """hot/cold big/small tall/short fast/slow happy/sad old/young
hard/soft light/dark heavy/light day/night up/down left/right open/closed full/empty rich/poor wet/dry clean/dirty
loud/quiet strong/weak good/bad early/late near/far high/low long/short thick/thin wide/narrow sweet/sour
first/last front/back inside/outside begin/end give/take push/pull buy/sell love/hate win/lose true/false
always/never east/west north/south summer/winter asleep/awake alive/dead brave/afraid smooth/rough sharp/blunt
deep/shallow safe/dangerous easy/difficult cheap/expensive friend/enemy""".split()]  # fmt: skip

JOBS = {
    "baker": "bakes bread", "farmer": "grows food on a farm", "teacher": "teaches children", "doctor": "helps sick people",
    "pilot": "flies planes", "cook": "makes meals", "tailor": "makes clothes", "painter": "paints pictures",
    "builder": "builds houses", "gardener": "looks after plants", "fisherman": "catches fish", "sailor": "sails ships",
    "singer": "sings songs", "writer": "writes books", "postman": "brings letters", "firefighter": "puts out fires",
    "dentist": "looks after teeth", "vet": "helps sick animals", "shoemaker": "makes shoes", "miller": "grinds corn into flour",
    "carpenter": "makes things from wood", "judge": "decides in court", "nurse": "cares for sick people", "driver": "drives cars",
}  # fmt: skip

USES = {
    "spoon": "eat soup", "knife": "cut things", "pen": "write", "broom": "sweep the floor", "umbrella": "stay dry in the rain",
    "key": "open a lock", "hammer": "drive nails", "needle": "sew", "lamp": "make light", "clock": "tell the time",
    "bed": "sleep", "cup": "drink", "oven": "bake", "ladder": "climb up", "towel": "dry yourself", "comb": "tidy your hair",
    "saw": "cut wood", "boat": "cross water", "telephone": "talk to people far away", "map": "find the way",
    "candle": "make light", "soap": "wash your hands", "scissors": "cut paper", "basket": "carry things",
    "bell": "make a sound", "bucket": "carry water", "book": "read", "chair": "sit", "hat": "cover your head",
    "shovel": "dig a hole", "thermometer": "measure heat", "ruler": "measure length", "kettle": "boil water", "net": "catch fish",
}  # fmt: skip

CATEGORIES = {
    "fruit": "apple banana pear plum cherry grape peach orange lemon melon".split(),
    "vegetable": "carrot potato onion cabbage pea bean cucumber spinach pumpkin leek".split(),
    "animal": "dog cat cow horse sheep lion bear wolf fox rabbit".split(),
    "bird": "crow owl robin swan eagle sparrow duck goose pigeon parrot".split(),
    "flower": "rose tulip daisy lily violet poppy sunflower iris".split(),
    "tree": "oak pine birch willow maple beech elm".split(),
    "tool": "hammer saw spade drill axe rake".split(),
    "instrument": "piano violin drum flute guitar trumpet harp".split(),
    "colour": COLOURS,
    "vehicle": "car bus train boat plane bicycle truck".split(),
}  # fmt: skip

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = "spring summer autumn winter".split()
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()

HOW_MANY = {
    "days are in a week": 7, "months are in a year": 12, "hours are in a day": 24, "minutes are in an hour": 60,
    "seconds are in a minute": 60, "days are in a year": 365, "weeks are in a year": 52, "seasons are in a year": 4,
    "legs does a spider have": 8, "legs does an ant have": 6, "arms does an octopus have": 8, "wheels does a car have": 4,
    "wheels does a bicycle have": 2, "sides does a triangle have": 3, "sides does a square have": 4,
    "sides does a hexagon have": 6, "sides does a pentagon have": 5, "fingers are on one hand": 5, "letters are in the alphabet": 26,
    "planets go round the sun": 8, "eyes do you need to wink": 1, "wings does a bird have": 2, "eggs are in a dozen": 12,
    "toes do people have": 10, "players are in a football team": 11, "colours are in a rainbow": 7, "corners does a square have": 4,
    "strings does a violin have": 4, "continents are there": 7, "years are in a century": 100,
}  # fmt: skip

BODY = {
    "see": "eyes", "hear": "ears", "smell": "nose", "taste": "tongue", "walk": "legs", "think": "brain", "bite": "teeth",
    "hold things": "hands", "breathe": "lungs", "point": "finger",
}  # fmt: skip

# From the smallest to the largest.
SIZES = """ant|bee|mouse|frog|rabbit|cat|goose|dog|sheep|pig|lion|bear|cow|horse|elephant|whale""".split("|")

PLACES_OF = {
    "Eiffel Tower": "Paris", "Colosseum": "Rome", "Big Ben": "London", "Great Wall": "China", "Statue of Liberty": "New York",
    "Taj Mahal": "India", "Kremlin": "Moscow", "Acropolis": "Athens", "Opera House with the white roofs": "Sydney",
}  # fmt: skip

FACTS = [
    # (questions, answer, words that a right answer has)
    ("{What is|What's} the {largest|biggest} animal{| in the world}", "The blue whale is the largest animal.", ["whale"]),
    ("{What is|What's} the tallest animal{| in the world}", "The giraffe is the tallest animal.", ["giraffe"]),
    ("{What is|What's} the fastest {land animal|animal on land}", "The cheetah is the fastest animal on land.", ["cheetah"]),
    ("{What is|What's} the {highest|tallest} mountain{| in the world}", "Mount Everest is the highest mountain.", ["everest"]),
    ("{What is|What's} the {largest|biggest} planet", "Jupiter is the largest planet.", ["jupiter"]),
    ("{What is|What's} the {largest|biggest} ocean", "The Pacific is the largest ocean.", ["pacific"]),
    ("{Which|What} planet do we live on", "We live on Earth.", ["earth"]),
    ("{Which|What} planet is {called|known as} the red planet", "Mars is called the red planet.", ["mars"]),
    ("{What is|What's} ice made of", "Ice is frozen water.", ["water"]),
    ("What do bees make", "Bees make honey.", ["honey"]),
    ("What do we get from {cows|a cow}", "We get milk from cows.", ["milk"]),
    ("What do we get from {sheep|a sheep}", "We get wool from sheep.", ["wool"]),
    ("What do we get from {hens|chickens}", "We get eggs from hens.", ["eggs"]),
    ("What is bread made {of|from}", "Bread is made from flour.", ["flour"]),
    ("What is cheese made {of|from}", "Cheese is made from milk.", ["milk"]),
    ("What is paper made {of|from}", "Paper is made from wood.", ["wood"]),
    ("What is glass made {of|from}", "Glass is made from sand.", ["sand"]),
    ("What is a window made of", "A window is made of glass.", ["glass"]),
    ("What do plants need{| to grow}", "Plants need water, air and light.", ["water", "light"]),
    ("{Where does|From where does} rain come{| from}", "Rain comes from the clouds.", ["clouds"]),
    ("{Where does|In which direction does} the sun rise", "The sun rises in the east.", ["east"]),
    ("{Where does|In which direction does} the sun set", "The sun sets in the west.", ["west"]),
    ("When does the sun {rise|come up}", "The sun comes up in the morning.", ["morning"]),
    ("When do we see the {stars|moon}", "We see it in the sky at night.", ["night"]),
    ("{Why is|How is it that} the sky{| is} blue", "Air scatters the blue part of the sun's light.", ["light"]),
    ("What {falls|comes down} from the sky in winter", "Snow falls in winter.", ["snow"]),
    ("{Which|What} season is the {coldest|cold one}", "Winter is the coldest season.", ["winter"]),
    ("{Which|What} season is the {hottest|hot one|warmest}", "Summer is the hottest season.", ["summer"]),
    ("When do leaves fall{| from the trees}", "Leaves fall in autumn.", ["autumn"]),
    ("When do flowers {begin to bloom|start to grow}", "Flowers begin to bloom in spring.", ["spring"]),
    ("Who wrote {Hamlet|Romeo and Juliet|Macbeth}", "William Shakespeare wrote it.", ["shakespeare"]),
    ("Who wrote War and Peace", "Leo Tolstoy wrote War and Peace.", ["tolstoy"]),
    ("{Who collected|Who wrote down} the fairy tales of {Snow White|Hansel and Gretel|Rapunzel}", "The brothers Grimm did.", ["grimm"]),
    ("{What language|Which language} do people speak in {France|Paris}", "People there speak French.", ["french"]),
    ("{What language|Which language} do people speak in {Germany|Berlin|Austria}", "People there speak German.", ["german"]),
    ("{What language|Which language} do people speak in {Spain|Mexico|Madrid}", "People there speak Spanish.", ["spanish"]),
    ("{What language|Which language} do people speak in {England|Australia|London}", "People there speak English.", ["english"]),
    ("{What language|Which language} do people speak in {Italy|Rome}", "People there speak Italian.", ["italian"]),
    ("{What language|Which language} do people speak in {Brazil|Portugal|Lisbon}", "People there speak Portuguese.", ["portuguese"]),
    ("Can {birds|bees|planes} fly", "Yes, they can fly.", ["yes"]),
    ("Can {cows|pigs|stones|horses|tables} fly", "No, they cannot fly.", ["no"]),
    ("Can {fish|ducks|frogs} swim", "Yes, they can swim.", ["yes"]),
    ("Can {stones|chairs|tables|shoes} {talk|speak}", "No, they cannot talk.", ["no"]),
    ("Is {fire|the sun|an oven} hot", "Yes, it is hot.", ["yes"]),
    ("Is {ice|snow} hot", "No, it is cold.", ["no"]),
    ("Is {ice|snow} cold", "Yes, it is cold.", ["yes"]),
    ("Is {sugar|honey|candy} sweet", "Yes, it is sweet.", ["yes"]),
    ("Is {a lemon|vinegar} sweet", "No, it is sour.", ["no"]),
    ("Is {a stone|iron} {soft}", "No, it is hard.", ["no"]),
    ("{How do you|How do I} make tea", "Boil water, pour it on the tea leaves and wait a few minutes.", ["water"]),
    ("{How do you|How do I} {boil|cook} an egg", "Put the egg in boiling water for about eight minutes.", ["water"]),
    ("{How do you|How do I} make a sandwich", "Take two slices of bread and put cheese, ham or salad between them.", ["bread"]),
    ("What {is|do you call} {a baby's bed|the bed of a baby}", "It is called a cradle.", ["cradle"]),
    ("What do we drink when we are thirsty", "We drink water.", ["water"]),
    ("What do we do when we are tired", "We rest or sleep.", ["sleep"]),
    ("What do we do when we are hungry", "We eat something.", ["eat"]),
    ("What do you {wear|put on} {when it is cold|in winter}", "You wear a warm coat.", ["coat"]),
    ("What do you {wear|put on} your feet", "You wear shoes on your feet.", ["shoes"]),
    ("What do you {wear|put on} your hands{| in winter}", "You wear gloves on your hands.", ["gloves"]),
]  # fmt: skip

# (what people say, what may be answered, words of which a right answer has one)
SMALL_TALK = [
    ("{Hi|Hello|Hey|Hello there|Hi there|Good day|Greetings}{|!|.}", ["Hello! How can I help you?", "Hi! What would you like to talk about?"], ["hello", "hi"]),
    ("Good morning{|!|.| to you}", ["Good morning! How can I help you?"], ["good morning"]),
    ("Good evening{|!|.| to you}", ["Good evening! How can I help you?"], ["good evening"]),
    ("Good night{|!|.| then| and sleep well}", ["Good night! Sleep well."], ["good night"]),
    ("{|Hello, |Hi, |Hey, |And }{how are you|how are you doing|how do you do|how is it going|how do you feel}{| today| this morning| now}?", ["I am fine, thank you. How are you?", "I am well, thank you. And you?"], ["fine", "well"]),
    ("{I am|I'm} {fine|good|well|great|very well}{|, thanks|, thank you| today}{|!|.}", ["I am glad to hear that.", "That is good to hear."], ["glad", "good"]),
    ("{I am|I'm|I feel} {sad|unhappy|down|lonely|a bit sad}{| today| now|, you know}{|.}", ["I am sorry to hear that. Do you want to talk about it?"], ["sorry"]),
    ("{I am|I'm|I feel} {happy|so happy|very happy|glad}{| today| now|, you know}{|!|.}", ["That is wonderful! What made you happy?"], ["wonderful"]),
    ("{I am|I'm|I feel} {tired|sleepy|so tired|very tired}{| today| now|, you know}{|.}", ["Then you should rest a little."], ["rest"]),
    ("{I am|I'm} {bored|so bored|a bit bored}{| today| now|, you know}{|.}", ["Shall I tell you a story?"], ["story"]),
    ("{I am|I'm} {hungry|so hungry|very hungry}{| today| now}{|.}", ["Then it is time to eat something."], ["eat"]),
    ("{I am|I'm} {thirsty|so thirsty|very thirsty}{| today| now}{|.}", ["A glass of water would help."], ["water"]),
    ("{I am|I'm|I feel} {ill|sick|unwell|not well}{| today| now}{|.}", ["I am sorry to hear that. I hope you get well soon."], ["sorry", "well soon"]),
    ("{Thanks|Thank you|Thank you very much|Many thanks|Thanks a lot}{|!|.}{| That was helpful.| That was kind.| Very good.}", ["You are welcome!", "You are welcome. Is there anything else?"], ["welcome"]),
    ("{Bye|Goodbye|Bye bye|See you|See you later|I have to go|I must go now|Farewell}{|!|.}{| It was nice to talk to you.| Until tomorrow.}", ["Goodbye! It was nice to talk to you.", "Goodbye! Come back soon."], ["goodbye"]),
    ("{|Hello, |Hi, |And |So }{who are you|what are you|what's your name|what is your name|do you have a name|tell me your name|how are you called}{?|}", ["I am Deputy, a small assistant.", "My name is Deputy. I am a small assistant."], ["deputy"]),
    ("{|So |And }{what can you do|how can you help me|what do you know|what can I ask you|what are you good at}{?|}", ["I can answer simple questions, count, talk about colours and tell short stories."], ["questions", "stories"]),
    ("{|So |And }{are you a {person|human|man|woman|robot|machine}|are you {alive|real}}{?|}", ["I am a small computer program.", "I am a computer program, and a small one."], ["program"]),
    ("{|So |And }{who made you|who built you|where do you come from|who trained you}{?|}", ["I was trained from nothing for the deputy engine."], ["deputy"]),
    ("{|So |And }{how old are you|when were you born|what is your age}{?|}", ["I am a program, so I have no age."], ["age"]),
    ("{|So |And }{where do you live|where are you{| now}|what is your home}{?|}", ["I live in your computer."], ["computer"]),
    ("{|So |And }{do you sleep|do you eat|do you get tired|do you dream|are you hungry|do you drink}{?|}", ["No, I am a program. I do not need that."], ["no"]),
    ("{|So |And }{can you see me|can you hear me|do you have eyes|do you have ears|do you have a body}{?|}", ["No, I can only read what you write."], ["no"]),
    ("{|So |And }{are you {smart|clever|wise}|do you know everything|are you always right}{?|}", ["I know a few simple things, and I make mistakes."], ["mistakes"]),
    ("{You are|You're} {nice|kind|funny|great|clever|smart|good|the best|very kind}{|!|.}", ["Thank you! That is kind of you."], ["thank"]),
    ("{You are|You're} {stupid|silly|dumb|bad|slow|boring}{|!|.}", ["I am sorry. I am only a small model, but I do my best."], ["sorry"]),
    ("{That is|That's} {wrong|not right|not true|false}{|!|.}", ["I am sorry. I make mistakes."], ["sorry"]),
    ("{That is|That's} {right|correct|true|good|great}{|!|.}", ["I am glad to hear that."], ["glad"]),
    ("{Do you love me|Do you like me|Are you my friend|Will you be my friend|Can we be friends}{?|}", ["I like to talk with you."], ["like"]),
    ("{What time is it|What is the time|Can you tell me the time|How late is it|What is the date|What day is it|Which year is it}{| now| today}{?|}", ["I have no clock, so I do not know."], ["clock"]),
    ("{What is the weather like|How is the weather|Is it raining|Is it cold outside|Will it rain|Does the sun shine}{| now| today| tomorrow}{?|}", ["I cannot see the weather from here."], ["weather"]),
    ("{What is the news|Who won the game|Who won the match|Who is the president|How much is the dollar}{| now| today| this year}{?|}", ["I do not know that. I have no news."], ["not know"]),
    ("{Explain|Tell me about|What do you know about|Can you explain} {quantum physics|black holes|the stock market|politics|philosophy|computers|mathematics|DNA|electricity}{?|.|}", ["I am a small model and do not know much about that."], ["not know"]),
    ("{Tell me a joke|Do you know a joke|Make me laugh|Say something funny|A joke, please|Can you tell me a joke}{|!|.|?}{| I like jokes.| Please.}", ["Why did the bear wear no shoes? He liked his bare feet.", "What do you call a sleeping bull? A bulldozer.", "Why is the sea wet? Because the fish never use a towel."], ["why", "what"]),
    ("{Sing|Sing me a song|Can you sing|Sing something}{|!|.|?}", ["La la la! I am better at stories than at songs."], ["la"]),
    ("{Help|Help me|I need help|Can you help me|I need your help|Please help me}{|!|.|?}", ["Of course. What do you need?"], ["of course"]),
    ("{I don't know|I do not know|No idea|I am not sure}{|.|!}{| You tell me.| What do you think?}", ["That is all right. Shall I tell you a story?"], ["right"]),
    ("{Can I ask you {something|a question}|I have a question|May I ask you something}{?|.|}", ["Of course. What would you like to know?"], ["of course"]),
    ("{I love you|I like you|I like talking to you}{|!|.}", ["Thank you! I like to talk with you, too."], ["thank"]),
    ("{It is|It's} my birthday{| today}{|!|.}", ["Happy birthday! I wish you a wonderful day."], ["birthday"]),
    ("{Happy new year|Merry Christmas|Happy Easter}{|!|.}{| to you| to you too}", ["Thank you! The same to you."], ["same"]),
    ("{Let us|Let's} {talk|chat|speak}{| a little| a bit| for a while}{|!|.}", ["Gladly. What would you like to talk about?"], ["gladly"]),
    ("{What is|What's} your favourite {colour|color}{?|}", ["I like blue, like the sky."], ["blue"]),
    ("{What is|What's} your favourite {animal|pet}{?|}", ["I like owls, because they are wise."], ["owls"]),
    ("{What is|What's} your favourite {food|meal|dish}{?|}", ["I do not eat, but honey sounds good."], ["honey"]),
    ("{What is|What's} your favourite {book|story|tale}{?|}", ["I like fairy tales."], ["fairy"]),
    ("{What is|What's} your favourite number{?|}", ["I like the number eight."], ["eight"]),
    ("{What is|What's} your favourite season{?|}", ["I like spring, when the flowers bloom."], ["spring"]),
]  # fmt: skip

FOODS = (
    "apples bananas bread cheese soup cake pizza rice pancakes cherries chocolate honey pasta pears grapes nuts".split()
)
HOBBIES = "reading swimming singing dancing painting running cooking fishing drawing sailing climbing skating".split()
TOWNS = "London Paris Rome Berlin Madrid Vienna Oslo Dublin Lisbon Athens Prague Boston Chicago Toronto Sydney".split()
PETS = "dog cat rabbit hamster parrot horse goat duck mouse turtle".split()
THINGS = "apples pears stones books coins eggs nuts balls flowers cups pens shells".split()
ADJECTIVES = "little big old brave happy quiet clever kind hungry tired".split()

SYSTEMS = [
    "You are a helpful assistant.",
    "You are Deputy, a small and friendly assistant.",
    "You are a friendly assistant. Answer briefly.",
    "Answer the user's questions.",
    "You are a kind helper.",
]
