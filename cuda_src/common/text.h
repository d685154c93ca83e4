// A macro's value as a text: TEXT(INNER)[0] == 'm' where a parameter is a word.
#pragma once
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
