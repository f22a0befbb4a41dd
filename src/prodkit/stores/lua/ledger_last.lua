-- Returns {'done', the sequence of the last entry}.
return { 'done', digits(whole(call('HGET', INDEX, 'last'), INDEX)) }
