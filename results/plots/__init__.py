"""Pictures of a search, each a function on pandas frames that draws into axes; `catalog` names them all."""
