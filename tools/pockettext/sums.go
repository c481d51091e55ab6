package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A fact is a question with its answer, worked out by code rather than written in a file. key names what was
// joined, for holding combinations out.
type fact struct{ question, answer, key string }

// sums are the kinds of question whose answers are computed.
var sums = []func(*Scene) (fact, error){
	addition, subtraction, multiplication, division, whichIsMore, counting, doubling,
	daysAndMonths, clock, spelling, halves, evenOrOdd, letters, money,
}

func oneOf(rng *rand.Rand, options ...string) string { return options[rng.IntN(len(options))] }

// thing draws a countable noun from the list of things.
func thing(s *Scene) (string, error) {
	v, err := s.value("countable")
	delete(s.bound, "countable")
	return v, err
}

func addition(s *Scene) (fact, error) {
	a, b := 1+s.rng.IntN(20), 1+s.rng.IntN(20)
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	r := s.rng
	q := oneOf(r, fmt.Sprintf("what is %d plus %d?", a, b), fmt.Sprintf("what is %d + %d?", a, b),
		fmt.Sprintf("how much is %s and %s?", numberWords(a), numberWords(b)),
		fmt.Sprintf("can you add %d and %d?", a, b),
		fmt.Sprintf("if there are %s and then %d more, how many are there?", count(a+1, noun), b))
	x := a
	if strings.HasPrefix(q, "if") {
		x = a + 1
	}
	answer := oneOf(r,
		fmt.Sprintf("%d plus %d is %d.", x, b, x+b),
		fmt.Sprintf("the answer is %d, because %d plus %d makes %d.", x+b, x, b, x+b)) + " " + oneOf(r,
		fmt.Sprintf("adding means putting two groups together. If %s and %s are put on a table, there are %s in all.",
			count(x, noun), count(b, noun), count(x+b, noun)),
		fmt.Sprintf("one way to work it out is to start at %s and count on %s, which ends at %s.",
			numberWords(x), count(b, "step"), numberWords(x+b)),
		fmt.Sprintf("the order does not matter when numbers are added, so %d plus %d is also %d.", b, x, x+b))
	if s.rng.IntN(2) == 0 {
		answer += " " + oneOf(r, "fingers, beads or small stones can help to check the answer.",
			"a number line is a good tool for sums like this one.",
			fmt.Sprintf("taking %d away from %d again gives %d, which shows that the sum is right.", b, x+b, x),
			"with some practice, small sums like this become quick and easy.")
	}
	return fact{q, answer, fmt.Sprintf("add/%d/%d", x, b)}, nil
}

func subtraction(s *Scene) (fact, error) {
	b, c := 1+s.rng.IntN(12), 1+s.rng.IntN(15)
	a := b + c
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	r := s.rng
	q := oneOf(r, fmt.Sprintf("what is %d minus %d?", a, b), fmt.Sprintf("what is %d - %d?", a, b),
		fmt.Sprintf("how much is %s take away %s?", numberWords(a), numberWords(b)),
		fmt.Sprintf("there are %s and %d are taken away. How many are left?", count(a, noun), b))
	answer := oneOf(r, fmt.Sprintf("%d minus %d is %d.", a, b, c),
		fmt.Sprintf("the answer is %d. When %s taken from %s, %s left.", c, isAre(b), numberWords(a), isAre(c))) + " " +
		oneOf(r,
			fmt.Sprintf("taking away makes a group smaller. From %s, %s removed, so %s left over.",
				count(a, noun), isAre(b), isAre(c)),
			fmt.Sprintf("it can be checked by adding: %d plus %d is %d again.", c, b, a),
			fmt.Sprintf("to work it out, count back %s from %s.", count(b, "step"), numberWords(a)))
	return fact{q, answer, fmt.Sprintf("minus/%d/%d", a, b)}, nil
}

// isAre gives "one is" or "four are".
func isAre(n int) string {
	if n == 1 {
		return "one is"
	}
	return numberWords(n) + " are"
}

func multiplication(s *Scene) (fact, error) {
	a, b := 2+s.rng.IntN(9), 2+s.rng.IntN(9)
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	r := s.rng
	q := oneOf(r, fmt.Sprintf("what is %d times %d?", a, b), fmt.Sprintf("how much is %s times %s?", numberWords(a),
		numberWords(b)), fmt.Sprintf("can you multiply %d by %d?", a, b),
		fmt.Sprintf("there are %s with %s in each. How many are there in all?", count(a, "box"), count(b, noun)))
	groups := make([]string, a)
	for i := range groups {
		groups[i] = numberWords(b)
	}
	answer := fmt.Sprintf("%d times %d is %d.", a, b, a*b) + " " + oneOf(r,
		fmt.Sprintf("multiplying is a quick way to add the same number many times: %s make %s.",
			listWords(groups), numberWords(a*b)),
		fmt.Sprintf("%s with %s in each hold %s in all.", count(a, "box"), count(b, noun), count(a*b, noun)),
		fmt.Sprintf("the numbers may be swapped, so %d times %d is %d as well.", b, a, a*b))
	return fact{q, answer, fmt.Sprintf("times/%d/%d", a, b)}, nil
}

func division(s *Scene) (fact, error) {
	b, c := 2+s.rng.IntN(8), 2+s.rng.IntN(9)
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	r := s.rng
	people := oneOf(r, "child", "friend", "person", "plate")
	q := oneOf(r, fmt.Sprintf("what is %d divided by %d?", b*c, b),
		fmt.Sprintf("how can %s share %s fairly?", count(b, people), count(b*c, noun)),
		fmt.Sprintf("how many times does %d go into %d?", b, b*c))
	if strings.Contains(q, "plates share") {
		q = fmt.Sprintf("how many %s go on each plate when %d are put on %s?", plural(noun), b*c, count(b, "plate"))
	}
	answer := fmt.Sprintf("%d divided by %d is %d.", b*c, b, c) + " " + oneOf(r,
		fmt.Sprintf("when %s are shared equally between %s, each gets %s.", count(b*c, noun), count(b, "child"),
			count(c, noun)),
		fmt.Sprintf("dividing means making equal groups, and %s of %s make %s.", count(b, "group"), numberWords(c),
			numberWords(b*c)),
		fmt.Sprintf("a times table gives the same answer: %d times %d is %d.", b, c, b*c))
	return fact{q, answer, fmt.Sprintf("divide/%d/%d", b*c, b)}, nil
}

func whichIsMore(s *Scene) (fact, error) {
	a, b := 1+s.rng.IntN(100), 1+s.rng.IntN(100)
	if a == b {
		b++
	}
	hi, lo := max(a, b), min(a, b)
	r := s.rng
	q := oneOf(r, fmt.Sprintf("which is more, %d or %d?", a, b), fmt.Sprintf("is %d bigger than %d?", a, b),
		fmt.Sprintf("which number is smaller, %d or %d?", a, b))
	answer := ""
	switch {
	case strings.HasPrefix(q, "is") && a > b:
		answer = fmt.Sprintf("yes, %d is bigger than %d.", a, b)
	case strings.HasPrefix(q, "is"):
		answer = fmt.Sprintf("no, %d is smaller than %d.", a, b)
	case strings.Contains(q, "smaller"):
		answer = fmt.Sprintf("%d is smaller than %d.", lo, hi)
	default:
		answer = fmt.Sprintf("%d is more than %d.", hi, lo)
	}
	answer += " " + oneOf(r, fmt.Sprintf("the difference between them is %d.", hi-lo),
		fmt.Sprintf("when counting, %s comes before %s.", numberWords(lo), numberWords(hi)),
		"on a number line, bigger numbers stand further to the right.",
		"to compare two numbers, it is best to look at the tens first and then at the ones.")
	return fact{q, answer, fmt.Sprintf("more/%d/%d", lo, hi)}, nil
}

func counting(s *Scene) (fact, error) {
	step := []int{1, 1, 1, 2, 5, 10}[s.rng.IntN(6)]
	start := step * (1 + s.rng.IntN(9))
	n := 4 + s.rng.IntN(7)
	words := make([]string, n)
	for i := range words {
		words[i] = numberWords(start + i*step)
	}
	last := start + (n-1)*step
	how := map[int]string{1: "in ones", 2: "in twos", 5: "in fives", 10: "in tens"}[step]
	r := s.rng
	q := oneOf(r, fmt.Sprintf("can you count %s from %d to %d?", how, start, last),
		fmt.Sprintf("how does one count %s from %d to %d?", how, start, last),
		fmt.Sprintf("please count from %d to %d %s.", start, last, how))
	answer := fmt.Sprintf("counting %s from %s goes like this: %s.", how, numberWords(start), listWords(words)) + " " +
		oneOf(r, fmt.Sprintf("that makes %d numbers.", n), fmt.Sprintf("the next number would be %s.",
			numberWords(last+step)), "counting aloud and pointing at things helps to remember the order.",
			fmt.Sprintf("each number is %s more than the one before.", numberWords(step)))
	return fact{q, answer, fmt.Sprintf("count/%d/%d/%d", step, start, n)}, nil
}

func doubling(s *Scene) (fact, error) {
	a := 1 + s.rng.IntN(50)
	q := oneOf(s.rng, fmt.Sprintf("what is double %d?", a), fmt.Sprintf("what is twice %d?", a))
	answer := fmt.Sprintf("double %d is %d.", a, 2*a) + " " + oneOf(s.rng,
		fmt.Sprintf("doubling means adding a number to itself, and %d plus %d is %d.", a, a, 2*a),
		fmt.Sprintf("half of %d is %d again.", 2*a, a))
	return fact{q, answer, fmt.Sprintf("double/%d", a)}, nil
}

func halves(s *Scene) (fact, error) {
	a := 1 + s.rng.IntN(50)
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	q := oneOf(s.rng, fmt.Sprintf("what is half of %d?", 2*a), fmt.Sprintf("how much is half of %s?",
		count(2*a, noun)))
	answer := fmt.Sprintf("half of %d is %d.", 2*a, a) + " " + oneOf(s.rng,
		"a half is one of two equal parts.", fmt.Sprintf("two equal groups of %s make %s.", numberWords(a),
			numberWords(2*a)), fmt.Sprintf("if two people share %s fairly, each person gets %s.", count(2*a, noun),
			count(a, noun)))
	return fact{q, answer, fmt.Sprintf("half/%d", 2*a)}, nil
}

func evenOrOdd(s *Scene) (fact, error) {
	a := 1 + s.rng.IntN(99)
	is, isNot := "odd", "even"
	why := "one is left over when it is split into pairs"
	if a%2 == 0 {
		is, isNot, why = "even", "odd", "it can be split into pairs with nothing left over"
	}
	q := oneOf(s.rng, fmt.Sprintf("is %d even or odd?", a), fmt.Sprintf("is %d an even number?", a))
	answer := fmt.Sprintf("%d is %s, not %s, because %s.", a, is, isNot, why)
	if strings.Contains(q, "an even") {
		answer = oneOf(s.rng, "", "") + answer
	}
	answer += " " + oneOf(s.rng, "even numbers end in 0, 2, 4, 6 or 8.", "odd numbers end in 1, 3, 5, 7 or 9.",
		fmt.Sprintf("the numbers next to it, %d and %d, are both %s.", a-1, a+1, isNot))
	return fact{q, answer, fmt.Sprintf("even/%d", a)}, nil
}

var dayNames = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

var monthNames = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September",
	"October", "November", "December"}

var monthDays = []int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func daysAndMonths(s *Scene) (fact, error) {
	r := s.rng
	if r.IntN(2) == 0 {
		i := r.IntN(7)
		day, next, before := dayNames[i], dayNames[(i+1)%7], dayNames[(i+6)%7]
		week := oneOf(r, "a week has seven days.", "after seven days the same day comes round again.",
			"Saturday and Sunday are called the weekend.", "many schools are open from Monday to Friday.",
			"most children stay at home at the weekend.")
		switch r.IntN(3) {
		case 0:
			return fact{oneOf(r, "what day comes after "+day+"?", "today is "+day+". What day is tomorrow?"),
				fmt.Sprintf("the day after %s is %s. The day after that is %s. %s", day, next, dayNames[(i+2)%7], week),
				"after/" + day}, nil
		case 1:
			return fact{oneOf(r, "what day comes before "+day+"?", "today is "+day+". What day was yesterday?"),
				fmt.Sprintf("the day before %s is %s. %s", day, before, week), "before/" + day}, nil
		}
		n := 2 + r.IntN(5)
		return fact{fmt.Sprintf("if today is %s, what day will it be in %d days?", day, n),
			fmt.Sprintf("in %s it will be %s. Starting from %s, one counts on %s. %s", count(n, "day"),
				dayNames[(i+n)%7], day, count(n, "day"), week), fmt.Sprintf("in/%s/%d", day, n)}, nil
	}
	i := r.IntN(12)
	month, next, before := monthNames[i], monthNames[(i+1)%12], monthNames[(i+11)%12]
	days := fmt.Sprintf("%s has %d days.", month, monthDays[i])
	if i == 1 {
		days = "February has 28 days, and 29 days in a leap year."
	}
	year := oneOf(r, "a year has twelve months.", "January is the first month and December is the last.",
		fmt.Sprintf("it is the %s month of the year.", ordinal(i+1)), "a new year begins on the first of January.")
	switch r.IntN(3) {
	case 0:
		return fact{"which month comes after " + month + "?", fmt.Sprintf("the month after %s is %s. %s %s", month, next,
			days, oneOf(r, "a year has twelve months.", "a new year begins on the first of January.")),
			"next/" + month}, nil
	case 1:
		return fact{"how many days does " + month + " have?", days + " " + year, "days/" + month}, nil
	}
	return fact{"when is " + month + "?", fmt.Sprintf("%s comes between %s and %s. %s %s", month, before, next, days,
		year), "when/" + month}, nil
}

func ordinal(n int) string {
	words := []string{"", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
		"tenth", "eleventh", "twelfth"}
	if n > 0 && n < len(words) {
		return words[n]
	}
	return numberWords(n) + "th"
}

func clock(s *Scene) (fact, error) {
	r := s.rng
	h, n := 1+r.IntN(12), 1+r.IntN(6)
	later := (h+n-1)%12 + 1
	what := oneOf(r, "a train", "a film", "a football match", "a long walk", "a party", "a bus trip", "a nap")
	q := oneOf(r, fmt.Sprintf("it is %d o'clock. What time will it be in %s?", h, count(n, "hour")),
		fmt.Sprintf("%s starts at %d o'clock and lasts %s. When does it end?", what, h, count(n, "hour")))
	answer := ""
	if strings.HasPrefix(q, "it is") {
		answer = fmt.Sprintf("in %s it will be %d o'clock.", count(n, "hour"), later)
	} else {
		answer = fmt.Sprintf("it ends at %d o'clock, which is %s after %d o'clock.", later, count(n, "hour"), h)
	}
	answer += " " + oneOf(r, "an hour has sixty minutes.", "the short hand of a clock shows the hour.",
		"the long hand of a clock goes round once in an hour.", "a whole day has twenty-four hours.",
		"after twelve o'clock, the hours on a clock start again at one.")
	return fact{q, answer, fmt.Sprintf("clock/%d/%d", h, n)}, nil
}

func spelling(s *Scene) (fact, error) {
	w, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	w = w[strings.LastIndexByte(w, ' ')+1:]
	spelt := strings.Join(strings.Split(w, ""), "-")
	q := oneOf(s.rng, "how do you spell "+w+"?", "how is the word "+w+" spelled?", "can you spell "+w+"?")
	answer := fmt.Sprintf("the word %s is spelled %s.", w, spelt) + " " + oneOf(s.rng,
		fmt.Sprintf("it has %s and begins with the letter %s.", count(len(w), "letter"), w[:1]),
		fmt.Sprintf("it begins with %s and ends with %s.", w[:1], w[len(w)-1:]),
		fmt.Sprintf("when there is more than one, the word is %s.", plural(w)),
		"saying the letters aloud and writing them down helps to remember the word.")
	return fact{q, answer, "spell/" + w}, nil
}

func letters(s *Scene) (fact, error) {
	w, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	w = w[strings.LastIndexByte(w, ' ')+1:]
	q := oneOf(s.rng, "what letter does "+w+" start with?", "how many letters are in the word "+w+"?")
	answer := fmt.Sprintf("the word %s starts with the letter %s.", w, w[:1])
	if strings.HasPrefix(q, "how") {
		answer = fmt.Sprintf("the word %s has %s.", w, count(len(w), "letter"))
	}
	answer += " " + oneOf(s.rng, "the English alphabet has twenty-six letters, and five of them are vowels.",
		fmt.Sprintf("its letters are %s.", strings.Join(strings.Split(w, ""), "-")),
		fmt.Sprintf("the last letter is %s.", w[len(w)-1:]))
	return fact{q, answer, "letters/" + w}, nil
}

func money(s *Scene) (fact, error) {
	noun, err := thing(s)
	if err != nil {
		return fact{}, err
	}
	n, price := 2+s.rng.IntN(8), 2+s.rng.IntN(9)
	q := oneOf(s.rng, fmt.Sprintf("one %s costs %d coins. How much do %s cost?", noun, price, count(n, noun)),
		fmt.Sprintf("how many coins are needed for %s if each costs %d?", count(n, noun), price))
	answer := fmt.Sprintf("%s cost %d coins.", count(n, noun), n*price) + " " + oneOf(s.rng,
		fmt.Sprintf("the price of one is multiplied by how many are bought, and %d times %d is %d.", n, price, n*price),
		fmt.Sprintf("a person who pays with %d coins gets %s back.", n*price+5, count(5, "coin")),
		fmt.Sprintf("for one more, the price would be %d coins.", (n+1)*price))
	return fact{q, answer, fmt.Sprintf("money/%d/%d", n, price)}, nil
}
