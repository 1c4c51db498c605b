"""Django's own user, identified by the address."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """The address is also the user name, so that Django's manager creates accounts unchanged."""

    email = models.EmailField(unique=True)
