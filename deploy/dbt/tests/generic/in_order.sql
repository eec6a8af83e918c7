{# Fails for rows whose first column is greater than the second. A null is no fault: nothing is known then. #}
{% test in_order(model, earlier, later) %}
select {{ earlier }}, {{ later }}
from {{ model }}
where {{ earlier }} > {{ later }}
{% endtest %}
